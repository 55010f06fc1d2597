"""The steps of registration (M2) and recovery (M4). They differ in whom a code is sent to, and what the password is for."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from zasov.auth.v1.common_pb2 import CodeSent
from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_REGISTRATION,
    OtpPurpose,
)
from zasov.otp.v1.otp_service_pb2 import IssueResponse

from services.auth import errors
from services.auth.accounts import Accounts, Loaded
from services.auth.captcha.provider import Captcha
from services.auth.clients import Client
from services.auth.contacts.destinations import Channel, Destination, chosen
from services.auth.flows.codes import Codes
from services.auth.flows.new_passwords import Begun, NewPasswords
from services.auth.flows.store import Flow, Flows, Sent, Step, mark_of
from services.auth.identifiers import Identifier, LookupKey, Phone
from services.auth.passwords.admission import Lockout, OriginLimited
from services.auth.vault import NOBODYS, Contact
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.shielded import Shielded


@dataclass(frozen=True)
class Asked:
    """A code that is asked for. language: "ru", "en" or empty. account_id: None for somebody unknown. channel: None for
    the phone, or the email of who has no phone.
    """

    flow_id: UUID
    purpose: OtpPurpose.ValueType
    subject_id: UUID
    account_id: UUID | None
    identifier: Identifier
    language: str
    origin: Origin
    least_digits: int = 0
    channel: Channel | None = None
    # Of a slip's one-time password.
    first_half: str = field(default="", repr=False)


@dataclass(frozen=True)
class OnFile:
    """What is known of somebody. Of somebody unknown it is nobody's, looked up and opened with the same work."""

    loaded: Loaded
    contact: Contact
    is_somebodys: bool


@dataclass(frozen=True)
class Recovery:
    """One of the flows that end with a new password; `purpose` says which."""

    purpose: OtpPurpose.ValueType
    accounts: Accounts
    flows: Flows
    codes: Codes
    lockout: Lockout
    passwords: NewPasswords
    lookup: LookupKey
    pseudonyms: Pseudonyms
    default_language: str
    shielded: Shielded
    captcha: Captcha

    async def start(self, identifier: Identifier, client: Client, channel: Channel | None = None) -> CodeSent:
        """Has a code sent, or seems to. Raises ServiceError CAPTCHA_REQUIRED, CAPTCHA_REJECTED, ORIGIN_LIMITED, COOL_DOWN,
        CODE_BUDGET_SPENT.
        """
        await self.require_captcha(client)
        account_id, time = await self.accounts.resolve(identifier)
        return await self.send(identifier, account_id, client, time.now(), channel)

    async def send(
        self, identifier: Identifier, account_id: UUID | None, client: Client, now: datetime, channel: Channel | None
    ) -> CodeSent:
        """`start` once it is paid for, and known whom it is about."""
        origin = client.origin(self.pseudonyms, now, identifier)
        subject_id = account_id or self.lookup.guard_of(identifier)
        least_digits, on_file = await self._check_and_read(origin, account_id, subject_id)
        asked = Asked(uuid4(), self.purpose, subject_id, account_id, identifier, client.language, origin, least_digits, channel)
        flow, issued = await self.issue(asked, on_file)
        grant, _ = await self.flows.open(flow)
        return code_sent(grant, issued)

    async def on_file(self, account_id: UUID | None, subject_id: UUID) -> "OnFile":
        loaded = await self.accounts.load(account_id) if account_id else None
        is_known = loaded is not None
        loaded = loaded or await self.accounts.load_stranger(subject_id)
        return OnFile(loaded, loaded.vault.open_contact(loaded.account.contact), is_known)

    async def issue(self, asked: "Asked", on_file: "OnFile") -> tuple[Flow, IssueResponse]:
        """A code on its way, and the flow that it belongs to, not stored yet. Raises ServiceError COOL_DOWN,
        CODE_BUDGET_SPENT.
        """
        loaded, contact = on_file.loaded, on_file.contact
        language = (contact.language if on_file.is_somebodys else "") or asked.language or self.default_language
        on_file_or_typed = self._send_to(asked, contact, language)
        is_decoy = on_file_or_typed is None or not (on_file.is_somebodys or asked.purpose == OTP_PURPOSE_REGISTRATION)
        send_to = on_file_or_typed or chosen(NOBODYS, asked.channel, language)
        assert send_to is not None  # there is one of nobody's by each channel
        issued = await self.codes.issue(
            asked.flow_id,
            asked.subject_id,
            asked.purpose,
            send_to,
            asked.origin,
            asked.least_digits,
            has_account=asked.account_id is not None,
            is_decoy=is_decoy,
            first_half=asked.first_half,
        )
        flow = Flow(
            flow_id=asked.flow_id,
            purpose=asked.purpose,
            step=Step.CODE_SENT,
            challenge_id=UUID(issued.challenge_id),
            subject_id=asked.subject_id,
            account_id=asked.account_id,
            identifier=asked.identifier,
            language=language,
            credential_version=loaded.account.credential_version,
            expires_at=issued.expires_at.ToDatetime(tzinfo=UTC),
            destination=send_to,
            is_decoy=is_decoy,
            contact_mark=mark_of(contact),
            sent=_sent(issued, asked.channel, loaded.time.now()),
        )
        return flow, issued

    async def send_again(self, grant: str, client: Client, channel: Channel | None = None) -> CodeSent:
        """Another code of the same flow; the older one stops working (M10). channel: None for that of the code before (M11).
        Raises as `start`, and GRANT_INVALID.
        """
        flow = await self.flows.find(grant, self.purpose, Step.CODE_SENT)
        await self.require_captcha(client)
        _, time = await self.accounts.resolve(flow.identifier)
        origin = client.origin(self.pseudonyms, time.now(), flow.identifier)
        least_digits, on_file = await self._check_and_read(origin, flow.account_id, flow.subject_id)
        channel = channel or (flow.sent.channel if flow.sent else None)
        asked = Asked(
            flow.flow_id, self.purpose, flow.subject_id, flow.account_id, flow.identifier, flow.language, origin, least_digits,
            channel,
        )  # fmt: skip
        newest, issued = await self.issue(asked, on_file)
        # What the flow must hold against at its end is what was so at its beginning.
        changed = replace(
            flow,
            challenge_id=newest.challenge_id,
            destination=newest.destination,
            is_decoy=newest.is_decoy,
            sent=newest.sent,
        )
        next_grant, _ = await self.flows.advance(flow, grant, Step.CODE_SENT, changed)
        return code_sent(next_grant, issued)

    async def confirm(self, grant: str, code: str, client: Client) -> tuple[str, datetime]:
        """The grant for the password, and its expiry. Raises ServiceError GRANT_INVALID, CODE_REJECTED, CODE_DEAD."""
        flow = await self.flows.find(grant, self.purpose, Step.CODE_SENT)
        _, time = await self.accounts.resolve(flow.identifier)
        await self.codes.verify(flow, code, client.origin(self.pseudonyms, time.now(), flow.identifier))
        return await self.flows.advance(flow, grant, Step.CODE_CONFIRMED)

    async def choose_password(self, grant: str, password: str, client: Client) -> Begun:
        """Sets the password and signs in. Raises ServiceError PASSWORD_POLICY (the grant stays good), GRANT_INVALID."""
        return await self.passwords.choose(grant, self.purpose, password, client)

    async def confirm_proposed(self, grant: str, password: str, client: Client) -> Begun:
        """Sets the password that was proposed by SMS, if it is this one, and signs in. Raises ServiceError PROPOSAL_REJECTED,
        GRANT_INVALID.
        """
        return await self.passwords.confirm_proposed(grant, self.purpose, password, client)

    async def require_captcha(self, client: Client) -> None:
        """M9: before each SMS, and before anything that depends on the number."""
        if not await self.captcha.settles(client.captcha_proof):
            raise errors.captcha_required()

    async def check_origin(self, origin: Origin) -> int:
        """Digits that a code must have at least; 0: any."""
        try:
            return await self.lockout.check_origin(origin)
        except OriginLimited as limited:
            raise limited.error from None

    async def _check_and_read(self, origin: Origin, account_id: UUID | None, subject_id: UUID) -> tuple[int, OnFile]:
        """What `check_origin` says, and what is on file, which is read meanwhile."""
        reading = asyncio.create_task(self.on_file(account_id, subject_id))
        try:
            return await self.check_origin(origin), await reading
        finally:
            reading.cancel()

    def _send_to(self, asked: Asked, contact: Contact, language: str) -> Destination | None:
        """To what is on file; a registration is to prove the number that was typed, whether it is on file or not."""
        if asked.purpose == OTP_PURPOSE_REGISTRATION:
            assert isinstance(asked.identifier, Phone)  # nothing else registers
            return Destination(language, phone=asked.identifier)
        return chosen(contact, asked.channel, language)


def _sent(issued: IssueResponse, channel: Channel | None, now: datetime) -> Sent:
    ends, again = issued.expires_at.ToDatetime(tzinfo=UTC), issued.ask_again_at.ToDatetime(tzinfo=UTC)
    return Sent(now, ends, again, channel)


def code_sent(grant: str, issued: IssueResponse) -> CodeSent:
    """What the subscriber is told of it."""
    return CodeSent(
        grant=grant, expires_at=issued.expires_at, ask_again_at=issued.ask_again_at, digits=issued.digits, tag=issued.tag
    )
