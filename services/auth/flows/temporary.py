"""One-time passwords (M5, M6, M18): asked for, sent by SMS, good for one sign-in, which leads to choosing a permanent password.

They are codes of otp with a form of their own: its tries, its single use and its expiry hold for them. Each one that is asked
for on the site has a flow of its own, whose grant says which of them is meant; without it the newest is. Of the handset's and
the office's nobody holds a grant, so a subscriber has one flow a purpose, whose id follows from the subscriber's.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4, uuid5

from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_COMMANDED_PASSWORD,
    OTP_PURPOSE_OFFICE_PASSWORD,
    OTP_PURPOSE_OFFICE_SLIP,
    OTP_PURPOSE_PROPOSED_PASSWORD,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
    OtpPurpose,
)
from zasov.otp.v1.otp_service_pb2 import IssueResponse

from services.auth import errors
from services.auth.clients import Client
from services.auth.contacts.destinations import Channel
from services.auth.domain import decide_temporary_use
from services.auth.flows.recovery import Asked, Recovery
from services.auth.flows.store import Flow, Step, still_holds
from services.auth.identifiers import Identifier, Phone
from services.auth.passwords.sign_in import tell_new_version
from services.chassis.errors import invalid
from services.chassis.eventstore import Conflict

_FLOWS, _HANDSETS = UUID("c53ee1e5-3cd5-49d5-8aa5-51e4bd7d1f5f"), UUID("0b0c1a3c-44e5-4a53-9b6d-3f4a44b0e3a7")
_OFFICES = UUID("5d0f5b7e-6f0b-4f7e-9a43-0f6e6b7f7a19")
# otp says when a one-time password is over; a flow need only live longer.
_KEPT = timedelta(days=1)
# As services/otp/codes.py makes them.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_FOREIGN = re.compile(f"[^{_ALPHABET}]")
_HALF = 6
# auth's database and otp's.
_CLOCKS_APART = timedelta(seconds=2)
# What is typed says which was meant: one guess tests one of them.
_BY_LENGTH: "dict[int, OtpPurpose.ValueType]" = {
    8: OTP_PURPOSE_TEMPORARY_PASSWORD,
    10: OTP_PURPOSE_COMMANDED_PASSWORD,
    12: OTP_PURPOSE_OFFICE_PASSWORD,
}
# Whose tries and budget they are: what strangers do on the site must not use up the handset's own way in, nor the office's.
_OWN_BUDGETS: "dict[OtpPurpose.ValueType, UUID]" = {
    OTP_PURPOSE_COMMANDED_PASSWORD: _HANDSETS,
    OTP_PURPOSE_PROPOSED_PASSWORD: _HANDSETS,
    OTP_PURPOSE_OFFICE_PASSWORD: _OFFICES,
    OTP_PURPOSE_OFFICE_SLIP: _OFFICES,
}


def normalise_temporary(text: str, field: str) -> str:
    """As it was sent, however it is typed: capitals, no spaces, no hyphens. Raises ServiceError INVALID_ARGUMENT."""
    password = "".join(text.split()).replace("-", "").upper()
    if len(password) not in _BY_LENGTH or _FOREIGN.search(password):
        raise invalid({field: "must be 8, 10 or 12 letters and digits"})
    return password


def new_half() -> str:
    """What a slip bears of its one-time password."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_HALF))


@dataclass(frozen=True)
class TemporaryPasswords:
    """recovery: of OTP_PURPOSE_TEMPORARY_PASSWORD; its last step is the choice of a permanent one."""

    recovery: Recovery

    async def request(
        self, identifier: Identifier, client: Client, channel: Channel | None = None
    ) -> tuple[str, IssueResponse]:
        """Has one sent, or seems to; nothing else changes until it is used, and others that were sent stay good. Returns a
        grant too, by which one may ask where the message is (M11) and sign in with what it brings, and nothing else. Raises
        ServiceError CAPTCHA_REQUIRED, CAPTCHA_REJECTED, ORIGIN_LIMITED, COOL_DOWN, CODE_BUDGET_SPENT.
        """
        await self.recovery.require_captcha(client)
        account_id, time = await self.recovery.accounts.resolve(identifier)
        origin = client.origin(self.recovery.pseudonyms, time.now(), identifier)
        await self.recovery.check_origin(origin)
        purpose = OTP_PURPOSE_TEMPORARY_PASSWORD
        return await self._issue(purpose, account_id, identifier, client.language, origin, channel=channel)

    async def command(self, phone: Phone, account_id: UUID, origin: Origin, proposed: str = "") -> IssueResponse:
        """The same by the handset's own SMS: no captcha, no limit of an address. proposed: the hash of a password that is to
        become permanent by the sign-in with it. Raises ServiceError COOL_DOWN, CODE_BUDGET_SPENT.
        """
        purpose = OTP_PURPOSE_PROPOSED_PASSWORD if proposed else OTP_PURPOSE_COMMANDED_PASSWORD
        # To the handset that asked, whatever else is on file.
        _, issued = await self._issue(purpose, account_id, phone, "", origin, proposed, Channel.PHONE)
        return issued

    async def is_under_way(self, phone: Phone, account_id: UUID, retry_in: timedelta) -> bool:
        """Whether what `command` has sent belongs to a flow that was stored. retry_in: as a command was refused for coming too
        soon: it was sent a cool-down before that.
        """
        flow = await self.recovery.flows.stored(_flow_of(self._subject_of(OTP_PURPOSE_COMMANDED_PASSWORD, account_id, phone)))
        _, time = await self.recovery.accounts.resolve(phone)
        return flow is not None and flow.sent is not None and flow.sent.ask_again_at > time.now() + retry_in - _CLOCKS_APART

    async def at_office(self, account_id: UUID, identifier: Identifier, first_half: str = "") -> IssueResponse:
        """The same after a document was checked (M18); with a first half, the other one alone is sent. Raises ServiceError
        COOL_DOWN, CODE_BUDGET_SPENT.
        """
        purpose = OTP_PURPOSE_OFFICE_SLIP if first_half else OTP_PURPOSE_OFFICE_PASSWORD
        _, issued = await self._issue(purpose, account_id, identifier, "", Origin(), first_half=first_half)
        return issued

    async def sign_in(
        self, identifier: Identifier, password: str, client: Client, grant: str = ""
    ) -> tuple[str, datetime, bool]:
        """The grant for the choice, its expiry, and whether a proposed password may be confirmed instead. grant: of `request`;
        empty: the newest is meant. Raises ServiceError GRANT_INVALID, CODE_REJECTED, CODE_DEAD.

        It goes on though the caller hangs up: what is used up must have its effect.
        """
        return await asyncio.shield(self.recovery.shielded.start(self._sign_in(identifier, password, client, grant)))

    async def _issue(
        self,
        purpose: "OtpPurpose.ValueType",
        account_id: UUID | None,
        identifier: Identifier,
        language: str,
        origin: Origin,
        proposed: str = "",
        channel: Channel | None = None,
        first_half: str = "",
    ) -> tuple[str, IssueResponse]:
        subject_id = self._subject_of(purpose, account_id, identifier)
        flow_id = uuid4() if purpose == OTP_PURPOSE_TEMPORARY_PASSWORD else _flow_of(subject_id)
        asked = Asked(
            flow_id, purpose, subject_id, account_id, identifier, language, origin,
            channel=channel, first_half=first_half,
        )  # fmt: skip
        on_file = await self.recovery.on_file(account_id, subject_id)
        flow, issued = await self.recovery.issue(asked, on_file)
        grant, _ = await self.recovery.flows.open(replace(flow, proposed=proposed), _KEPT)
        return grant, issued

    async def _sign_in(self, identifier: Identifier, password: str, client: Client, grant: str) -> tuple[str, datetime, bool]:
        recovery = self.recovery
        account_id, time = await recovery.accounts.resolve(identifier)
        purpose = _BY_LENGTH[len(password)]
        # Whoever asked on the site may type what an SMS of theirs brought meanwhile: it has no grant to go by.
        is_sites = purpose == OTP_PURPOSE_TEMPORARY_PASSWORD
        origin = client.origin(recovery.pseudonyms, time.now(), identifier)
        flow = await self._flow_meant(purpose, account_id, identifier, grant if is_sites else "")
        await recovery.codes.verify(flow, password, origin, without_grant=is_sites and not grant)
        if account_id is None or flow.account_id != account_id:
            # The number went to another account, or to none, since it was sent.
            raise errors.code_dead()
        version = await self._use(flow, account_id, client)
        await recovery.flows.use(flow)
        await tell_new_version(recovery.lockout, account_id, version)
        confirmed = replace(
            flow,
            flow_id=uuid4(),
            purpose=OTP_PURPOSE_TEMPORARY_PASSWORD,
            step=Step.CODE_CONFIRMED,
            subject_id=account_id,
            credential_version=version,
        )
        return *await recovery.flows.open(confirmed), bool(flow.proposed)

    async def _flow_meant(
        self, purpose: "OtpPurpose.ValueType", account_id: UUID | None, identifier: Identifier, grant: str
    ) -> Flow:
        """One, for one guess. Raises ServiceError GRANT_INVALID, CODE_DEAD."""
        flows = self.recovery.flows
        if grant:
            flow = await flows.find(grant, purpose, Step.CODE_SENT)
            # As they were typed: whether two lead to the same account is not for whoever asked about one of them.
            if flow.identifier != identifier:
                raise errors.grant_invalid()
            return flow
        subject_id = self._subject_of(purpose, account_id, identifier)
        if purpose == OTP_PURPOSE_TEMPORARY_PASSWORD:
            newest = await flows.newest(subject_id, purpose)
        else:
            newest = await flows.named(_flow_of(subject_id))
        if newest is None:
            raise errors.code_dead()
        return newest

    async def _use(self, flow: Flow, account_id: UUID, client: Client) -> int:
        """The credential version that the use makes. Raises ServiceError CODE_DEAD: another password or another
        contact was set since.
        """
        while True:
            loaded = await self.recovery.accounts.load(account_id)
            if loaded is None or not still_holds(flow, loaded):
                raise errors.code_dead()
            now = loaded.time.now()
            origin = client.origin(self.recovery.pseudonyms, now, flow.identifier)
            try:
                await self.recovery.accounts.append(loaded.account, decide_temporary_use(loaded.account), now, origin)
            except Conflict:
                continue
            return loaded.account.credential_version + 1

    def _subject_of(self, purpose: "OtpPurpose.ValueType", account_id: UUID | None, identifier: Identifier) -> UUID:
        owner = account_id or self.recovery.lookup.guard_of(identifier)
        return uuid5(_OWN_BUDGETS[purpose], str(owner)) if purpose in _OWN_BUDGETS else owner


def _flow_of(subject_id: UUID) -> UUID:
    return uuid5(_FLOWS, str(subject_id))
