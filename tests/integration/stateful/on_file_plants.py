"""What is taken out of account numbers, the choice of a contact, and the email on file, for planted.py."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_EMAIL

import services.auth.flows.new_passwords
import services.auth.flows.recovery
import services.auth.provisioning
from services.auth import errors
from services.auth.contacts.destinations import Channel
from services.auth.flows.choice import ChoiceOfContact
from services.auth.flows.codes import Codes
from services.auth.flows.email_change import EmailChange
from services.auth.flows.store import Flow, Flows, Step
from services.auth.identifiers import AccountNumber, LookupKey
from services.auth.passwords.admission import Guarded
from services.auth.passwords.guesses import Guess
from services.auth.passwords.proofs import Proofs
from services.chassis.errors import ServiceError


def grant_for_a_code_stays_good(patch: pytest.MonkeyPatch) -> None:
    _grant_stays_good(patch, lambda flow: flow.step is Step.CONTACTS_SHOWN)


def email_grant_stays_good(patch: pytest.MonkeyPatch) -> None:
    """And its code with it."""
    _grant_stays_good(patch, lambda flow: flow.purpose == OTP_PURPOSE_EMAIL)
    verify, verified = Codes.verify, set[tuple[UUID, str]]()

    async def verify_again(self: Codes, flow: Flow, code: str, origin: Any, **how: Any) -> None:
        if (flow.challenge_id, code) in verified:
            return
        await verify(self, flow, code, origin, **how)
        if flow.purpose == OTP_PURPOSE_EMAIL:
            verified.add((flow.challenge_id, code))

    patch.setattr(Codes, "verify", verify_again)
    contacts_void_nothing(patch)


def grant_for_a_code_sets_a_password(patch: pytest.MonkeyPatch) -> None:
    """What stands behind it is that such a flow replaces no password."""
    _find_also(patch, Step.CODE_CONFIRMED, Step.CONTACTS_SHOWN)
    patch.setattr(services.auth.flows.new_passwords, "still_holds", lambda *_: True)


def grant_for_a_code_sends_another(patch: pytest.MonkeyPatch) -> None:
    _find_also(patch, Step.CODE_SENT, Step.CONTACTS_SHOWN)


def any_grant_is_good_for_a_code(patch: pytest.MonkeyPatch) -> None:
    _find_also(patch, Step.CONTACTS_SHOWN, Step.CODE_SENT)
    any_channel_is_offered(patch)


def any_channel_is_offered(patch: pytest.MonkeyPatch) -> None:
    find = Flows.find

    async def found(self: Flows, *arguments: Any) -> Flow:
        return replace(await find(self, *arguments), offered=tuple(Channel))

    patch.setattr(Flows, "find", found)


def not_offered_uses_the_grant_up(patch: pytest.MonkeyPatch) -> None:
    send = ChoiceOfContact.send

    async def sent(self: ChoiceOfContact, grant: str, channel: Channel, client: Any) -> Any:
        shown = await self.recovery.flows.find(grant, self.recovery.purpose, Step.CONTACTS_SHOWN)
        try:
            return await send(self, grant, channel, client)
        except ServiceError:
            if channel not in shown.offered:
                await self.recovery.flows.advance(shown, grant, Step.DONE)
            raise

    patch.setattr(ChoiceOfContact, "send", sent)


def always_to_the_phone(patch: pytest.MonkeyPatch) -> None:
    chosen = services.auth.flows.recovery.chosen
    patch.setattr(services.auth.flows.recovery, "chosen", lambda contact, _, language: chosen(contact, None, language))


def nobody_has_no_contacts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("services.auth.flows.choice.made_up", lambda *_: [])


def account_numbers_have_their_own_guard(patch: pytest.MonkeyPatch) -> None:
    guard_of, theirs = LookupKey.guard_of, set[UUID]()

    def guard(self: LookupKey, identifier: Any) -> UUID:
        found = guard_of(self, identifier)
        if isinstance(identifier, AccountNumber):
            theirs.add(found)
        return found

    def guarded(self: Guess) -> Guarded:
        owner = self.guard_id if self.guard_id in theirs else self.account_id or self.guard_id
        return Guarded(owner, CREDENTIAL_PASSWORD, stranger=self.account_id is None)

    patch.setattr(LookupKey, "guard_of", guard)
    patch.setattr(Guess, "guarded", property(guarded))


def operator_replaces_the_email(patch: pytest.MonkeyPatch) -> None:
    filled_in = services.auth.provisioning.filled_in
    patch.setattr(
        services.auth.provisioning,
        "filled_in",
        lambda contact, asked: filled_in(replace(contact, email="") if asked.email else contact, asked),
    )


def contacts_void_nothing(patch: pytest.MonkeyPatch) -> None:
    def still_holds(flow: Flow, loaded: Any) -> bool:
        return bool(loaded.account.credential_version == flow.credential_version)

    for module in ("new_passwords", "temporary", "email_change"):
        patch.setattr(f"services.auth.flows.{module}.still_holds", still_holds)


def no_password_for_an_email(patch: pytest.MonkeyPatch) -> None:
    async def prove(self: Proofs, live: Any, _: str, client: Any) -> Any:
        loaded = await self.accounts.load(live.account_id)
        assert loaded
        return loaded, client.origin(self.pseudonyms, loaded.time.now())

    patch.setattr(Proofs, "prove", prove)


def guesses_for_an_email_are_free(patch: pytest.MonkeyPatch) -> None:
    """The password must be right, but nobody counts."""
    prove = Proofs.prove

    async def proven(self: Proofs, live: Any, password: str, client: Any) -> Any:
        loaded = await self.accounts.load(live.account_id)
        assert loaded
        try:
            PasswordHasher().verify(loaded.vault.open_password(loaded.account.password), password)
        except VerifyMismatchError:
            raise errors.credentials_rejected(2) from None
        return await prove(self, live, password, client)

    patch.setattr(Proofs, "prove", proven)


def any_session_confirms_an_email(patch: pytest.MonkeyPatch) -> None:
    async def confirm(self: EmailChange, token: str, grant: str, code: str, client: Any) -> None:
        await self.sign_in.live(token)
        await self._confirm(await self.parts.flows.find(grant, OTP_PURPOSE_EMAIL, Step.CODE_SENT), grant, code, client)

    patch.setattr(EmailChange, "confirm", confirm)


def on_file_unconfirmed(patch: pytest.MonkeyPatch) -> None:
    start = EmailChange.start

    async def started(self: EmailChange, token: str, password: str, email: str, client: Any) -> Any:
        sent = await start(self, token, password, email, client)
        live = await self.sign_in.live(token)
        await self._change(live.account_id, lambda contact: replace(contact, email=email), client)
        return sent

    patch.setattr(EmailChange, "start", started)


def _grant_stays_good(patch: pytest.MonkeyPatch, where: Any) -> None:
    advance = Flows.advance

    async def advanced(self: Flows, flow: Flow, used_grant: str, step: Step, changed: Flow | None = None) -> Any:
        if step is Step.DONE and where(flow):
            return used_grant, flow.expires_at
        return await advance(self, flow, used_grant, step, changed)

    patch.setattr(Flows, "advance", advanced)


def _find_also(patch: pytest.MonkeyPatch, wanted: Step, other: Step) -> None:
    find = Flows.find

    async def found(self: Flows, grant: str, purpose: Any, step: Step) -> Flow:
        try:
            return await find(self, grant, purpose, step)
        except ServiceError:
            if step is not wanted:
                raise
            return await find(self, grant, purpose, other)

    patch.setattr(Flows, "find", found)
