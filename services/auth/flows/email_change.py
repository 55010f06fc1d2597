"""What a signed-in subscriber changes on file: the email (M11), proven by the password and by a code; the language (M20)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from uuid import UUID, uuid4

from zasov.auth.v1.common_pb2 import CodeSent
from zasov.events.v1.auth_event_pb2 import ContactChanged
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_EMAIL

from services.auth import errors
from services.auth.accounts import Loaded
from services.auth.clients import Client
from services.auth.contacts.changes import change_contact
from services.auth.contacts.destinations import Destination
from services.auth.flows.recovery import Recovery, code_sent
from services.auth.flows.store import Flow, Step, mark_of, still_holds
from services.auth.passwords.proofs import Proofs
from services.auth.passwords.sign_in import SignIn
from services.auth.vault import Contact
from services.chassis.eventstore import Conflict
from services.chassis.shielded import Shielded


@dataclass(frozen=True)
class EmailChange:
    """parts: what it shares with the flows that a code proves; of OTP_PURPOSE_EMAIL."""

    parts: Recovery
    sign_in: SignIn
    proofs: Proofs
    shielded: Shielded

    async def start(self, token: str, password: str, email: str, client: Client) -> CodeSent:
        """Has a code sent to the new address. Raises ServiceError as AccountService documents."""
        live = await self.sign_in.live(token)
        loaded, origin = await self.proofs.prove(live, password, client)
        contact = loaded.vault.open_contact(loaded.account.contact)
        least_digits = await self.parts.check_origin(origin)
        flow_id, send_to = uuid4(), Destination(contact.language, email=email)
        issued = await self.parts.codes.issue(
            flow_id, live.account_id, OTP_PURPOSE_EMAIL, send_to, origin, least_digits, has_account=True
        )
        flow = Flow(
            flow_id=flow_id,
            purpose=OTP_PURPOSE_EMAIL,
            step=Step.CODE_SENT,
            challenge_id=UUID(issued.challenge_id),
            subject_id=live.account_id,
            account_id=live.account_id,
            identifier=contact.identifiers[0],
            language=contact.language,
            credential_version=loaded.account.credential_version,
            expires_at=issued.expires_at.ToDatetime(tzinfo=UTC),
            destination=send_to,
            contact_mark=mark_of(contact),
        )
        grant, _ = await self.parts.flows.open(flow)
        return code_sent(grant, issued)

    async def confirm(self, token: str, grant: str, code: str, client: Client) -> None:
        """Puts the address on file. Raises ServiceError as AccountService documents.

        It goes on though the caller hangs up: what is used up must have its effect.
        """
        live = await self.sign_in.live(token)
        flow = await self.parts.flows.find(grant, OTP_PURPOSE_EMAIL, Step.CODE_SENT)
        if flow.account_id != live.account_id:
            raise errors.grant_invalid()
        await asyncio.shield(self.shielded.start(self._confirm(flow, grant, code, client)))

    async def set_language(self, token: str, language: str, client: Client) -> None:
        """Of all further messages. Raises ServiceError SESSION_INVALID."""
        live = await self.sign_in.live(token)
        await self._change(live.account_id, lambda contact: replace(contact, language=language), client)

    async def _confirm(self, flow: Flow, grant: str, code: str, client: Client) -> None:
        assert flow.account_id is not None
        assert flow.destination is not None
        email, account_id = flow.destination.email, flow.account_id
        loaded = await self._load(account_id)
        origin = client.origin(self.parts.pseudonyms, loaded.time.now())
        if not still_holds(flow, loaded):
            raise errors.grant_invalid()
        await self.parts.codes.verify(flow, code, origin)
        await self.parts.flows.advance(flow, grant, Step.DONE)
        await self._change(account_id, lambda contact: replace(contact, email=email), client, flow)

    async def _change(
        self, account_id: UUID, change: Callable[[Contact], Contact], client: Client, flow: Flow | None = None
    ) -> None:
        while True:
            loaded = await self._load(account_id)
            if flow is not None and not still_holds(flow, loaded):
                raise errors.grant_invalid()
            before, now = loaded.vault.open_contact(loaded.account.contact), loaded.time.now()
            facts = change_contact(loaded.vault, before, change(before), ContactChanged.VIA_SUBSCRIBER)
            if not facts:
                return
            try:
                await self.parts.accounts.append(loaded.account, facts, now, client.origin(self.parts.pseudonyms, now))
            except Conflict:
                continue
            return

    async def _load(self, account_id: UUID) -> Loaded:
        loaded = await self.parts.accounts.load(account_id)
        if loaded is None:
            raise errors.session_invalid()
        return loaded
