"""The end of registration (M2), recovery (M4) and one-time passwords (M5): a new password, and signed in by it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from zasov.events.v1.auth_event_pb2 import PasswordReset
from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_RECOVERY,
    OTP_PURPOSE_REGISTRATION,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
    OtpPurpose,
)

from services.auth import errors
from services.auth.accounts import Accounts, Loaded
from services.auth.clients import Client
from services.auth.domain import Account, NewSession, decide_registration, decide_reset
from services.auth.flows.store import Flow, Flows, Step, still_holds
from services.auth.identifiers import Phone
from services.auth.passwords.admission import Lockout
from services.auth.passwords.hashing import HashingLine
from services.auth.passwords.policy import failed_rules
from services.auth.passwords.sign_in import tell_new_version
from services.auth.sessions import new_session
from services.auth.vault import Contact
from services.chassis.errors import unavailable
from services.chassis.eventstore import Conflict
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.shielded import Shielded

Begun = tuple[UUID, NewSession, str]

_VIA = {
    OTP_PURPOSE_RECOVERY: PasswordReset.VIA_RECOVERY,
    OTP_PURPOSE_REGISTRATION: PasswordReset.VIA_REGISTRATION,
    OTP_PURPOSE_TEMPORARY_PASSWORD: PasswordReset.VIA_TEMPORARY_PASSWORD,
}


@dataclass(frozen=True)
class NewPasswords:
    """Sets what was chosen, or proposed, by whoever holds the grant of a confirmed flow."""

    accounts: Accounts
    flows: Flows
    lockout: Lockout
    line: HashingLine
    pseudonyms: Pseudonyms
    session_lifetime: timedelta
    shielded: Shielded

    async def choose(self, grant: str, purpose: OtpPurpose.ValueType, password: str, client: Client) -> Begun:
        """Sets the password and signs in. Raises ServiceError PASSWORD_POLICY (the grant stays good), GRANT_INVALID."""
        flow = await self.flows.find(grant, purpose, Step.CODE_CONFIRMED)
        failed = failed_rules(password)
        if failed:
            raise errors.password_policy("password", failed)
        with self.line.reserve() as place:
            place.take_for(flow.subject_id)
            hashed = await self.line.hash(place, password)
        return await asyncio.shield(self.shielded.start(self._set_password(flow, grant, hashed, client, _VIA[purpose])))

    async def confirm_proposed(self, grant: str, purpose: OtpPurpose.ValueType, password: str, client: Client) -> Begun:
        """Sets the password that was proposed by SMS, if it is this one, and signs in. One guess: whoever forged a sender has
        proposed another, and the owner must not confirm that. Raises ServiceError PROPOSAL_REJECTED, GRANT_INVALID.
        """
        flow = await self.flows.find(grant, purpose, Step.CODE_CONFIRMED)
        return await asyncio.shield(self.shielded.start(self._confirm(flow, grant, password, client)))

    async def _confirm(self, flow: Flow, grant: str, password: str, client: Client) -> Begun:
        with self.line.reserve() as place:
            place.take_for(flow.subject_id)
            hashed = await self.flows.take_proposal(flow, grant)
            if not await self.line.matches(place, hashed, password):
                raise errors.proposal_rejected()
        return await self._set_password(flow, grant, hashed, client, PasswordReset.VIA_PROPOSAL)

    async def _set_password(
        self, flow: Flow, grant: str, hashed: str, client: Client, via: "PasswordReset.Via.ValueType"
    ) -> Begun:
        """Whatever may have to be tried again comes before the grant is used up; what follows goes on though nobody waits."""
        account_id, time = await self.accounts.resolve(flow.identifier)
        origin = client.origin(self.pseudonyms, time.now(), flow.identifier)
        registers = account_id is None and flow.purpose == OTP_PURPOSE_REGISTRATION
        if registers:
            new_id = uuid4()
            account_id = await self.accounts.reserve_identifier(flow.identifier, new_id)
            registers = account_id == new_id
            if account_id is None:
                raise unavailable()
        if account_id is None or (flow.account_id is not None and flow.account_id != account_id):
            # The number went to another account, or to none, since the code was sent.
            raise errors.grant_invalid()
        await self.flows.advance(flow, grant, Step.DONE)
        if registers:
            return await self._register(flow, account_id, hashed, time.now(), origin, client.device_id)
        return await self._reset(flow, account_id, hashed, origin, via, client.device_id)

    async def _register(
        self, flow: Flow, account_id: UUID, hashed: str, now: datetime, origin: Origin, device_id: str
    ) -> Begun:
        """The number is reserved; append, then confirm: steps that each stand alone."""
        vault = await self.accounts.make_vault(account_id)
        session, token = new_session(account_id, now, self.session_lifetime, vault.mark_of_device(device_id))
        assert isinstance(flow.identifier, Phone)  # nothing else registers
        contact = vault.close_contact(Contact(flow.identifier, flow.language))
        facts = decide_registration(contact, vault.close_password(hashed), session)
        await self.accounts.append(Account(account_id), facts, now, origin, session)
        if not await self.accounts.confirm_identifier(flow.identifier, account_id):
            raise unavailable()
        await tell_new_version(self.lockout, account_id, 1)
        return account_id, session, token

    async def _reset(
        self,
        flow: Flow,
        account_id: UUID,
        hashed: str,
        origin: Origin,
        via: "PasswordReset.Via.ValueType",
        device_id: str,
    ) -> Begun:
        while True:
            loaded = await self._load(account_id)
            account, now = loaded.account, loaded.time.now()
            if not still_holds(flow, loaded):
                raise errors.grant_invalid()
            device = loaded.vault.mark_of_device(device_id)
            session, token = new_session(account_id, now, self.session_lifetime, device)
            facts = decide_reset(account, via, loaded.vault.close_password(hashed), session)
            try:
                await self.accounts.append(account, facts, now, origin, session)
            except Conflict:
                continue
            await tell_new_version(self.lockout, account_id, account.credential_version + 1)
            return account_id, session, token

    async def _load(self, account_id: UUID) -> Loaded:
        loaded = await self.accounts.load(account_id)
        if loaded is None:
            raise errors.grant_invalid()
        return loaded
