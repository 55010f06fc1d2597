"""What is taken out of one-time passwords and SMS commands, for planted.py."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from zasov.events.v1.auth_event_pb2 import SessionEnded, TemporaryPasswordUsed

import services.auth.accounts
import services.auth.flows.temporary
import services.otp.domain
from services.auth import domain, errors
from services.auth.accounts import Accounts
from services.auth.flows.store import Flow, Flows, Step
from services.auth.flows.temporary import TemporaryPasswords
from services.auth.passwords.hashing import HashingLine
from services.auth.passwords.sign_in import tell_new_version
from services.auth.sessions import new_session
from services.otp.codes import PASSWORD_LENGTHS
from services.otp.domain import CheckMade, OtpVerified


def any_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services.auth.flows.temporary, "still_holds", lambda *_: True)


def stays_good(patch: pytest.MonkeyPatch) -> None:
    """And a use that another one has followed counts as the same one's."""
    decide = services.otp.domain.decide

    def decided(challenge: Any, command: Any, now: Any) -> Any:
        if isinstance(command, CheckMade) and command.right and challenge.purpose in PASSWORD_LENGTHS:
            return [OtpVerified(purpose=challenge.purpose)]
        return decide(challenge, command, now)

    async def is_not_marked(*_: Any) -> None:
        pass

    patch.setattr(services.otp.domain, "decide", decided)
    patch.setattr(Flows, "use", is_not_marked)
    any_version(patch)


def begins_a_session(patch: pytest.MonkeyPatch) -> None:
    append = Accounts.append

    async def appended(
        self: Accounts, account: Any, facts: Any, now: Any, origin: Any, session: Any = None, **beside: Any
    ) -> None:
        if isinstance(facts[0].payload, TemporaryPasswordUsed):
            session, _ = new_session(account.account_id, now, timedelta(days=1))
            facts = [*facts, domain._session_started(session)]
        await append(self, account, facts, now, origin, session, **beside)

    patch.setattr(Accounts, "append", appended)


def ends_no_session(patch: pytest.MonkeyPatch) -> None:
    decide = domain.decide_temporary_use
    kept = "services.auth.flows.temporary.decide_temporary_use"
    patch.setattr(kept, lambda account: [fact for fact in decide(account) if not isinstance(fact.payload, SessionEnded)])


def leaves_the_permanent_one(patch: pytest.MonkeyPatch) -> None:
    evolve = domain.evolve

    def evolved(account: Any, event: Any, secret: Any) -> Any:
        after = evolve(account, event, secret)
        return replace(after, password=account.password) if isinstance(event, TemporaryPasswordUsed) else after

    patch.setattr(domain, "evolve", evolved)


def lifts_no_block_at_once(patch: pytest.MonkeyPatch) -> None:
    async def untold(*_: Any) -> None:
        pass

    patch.setattr(services.auth.flows.temporary, "tell_new_version", untold)


def asking_lifts_a_block(patch: pytest.MonkeyPatch) -> None:
    request = TemporaryPasswords.request

    async def requested(self: TemporaryPasswords, identifier: Any, *rest: Any) -> Any:
        account_id, _ = await self.recovery.accounts.resolve(identifier)
        loaded = await self.recovery.accounts.load(account_id) if account_id else None
        if loaded:
            await tell_new_version(self.recovery.lockout, account_id, loaded.account.credential_version + 1)
        return await request(self, identifier, *rest)

    patch.setattr(TemporaryPasswords, "request", requested)


def any_confirms_what_was_proposed(patch: pytest.MonkeyPatch) -> None:
    """Not only the one that answered the proposal."""
    proposed: dict[UUID | None, str] = {}
    opened = Flows.open

    async def open_flow(self: Flows, flow: Flow, lifetime: timedelta | None = None) -> Any:
        if flow.proposed:
            proposed[flow.account_id] = flow.proposed
        if flow.step is Step.CODE_CONFIRMED:
            flow = replace(flow, proposed=proposed.get(flow.account_id, ""))
        return await opened(self, flow, lifetime)

    patch.setattr(Flows, "open", open_flow)


def becomes_permanent_unconfirmed(patch: pytest.MonkeyPatch) -> None:
    use = TemporaryPasswords._use

    async def used(self: TemporaryPasswords, flow: Flow, account_id: UUID, client: Any) -> int:
        version = await use(self, flow, account_id, client)
        loaded = await self.recovery.accounts.load(account_id)
        assert loaded
        if not flow.proposed:
            return version
        session, _ = new_session(account_id, loaded.time.now(), timedelta(days=1))
        facts = domain.decide_reset(loaded.account, 4, loaded.vault.close_password(flow.proposed), session)[:1]
        await self.recovery.accounts.append(loaded.account, facts, loaded.time.now(), None)
        return version + 1

    patch.setattr(TemporaryPasswords, "_use", used)


def any_password_confirms_what_was_proposed(patch: pytest.MonkeyPatch) -> None:
    async def matches(self: HashingLine, place: Any, hashed: str, password: str) -> bool:
        return True

    patch.setattr(HashingLine, "matches", matches)


def a_proposal_is_guessed_at_as_often_as_one_likes(patch: pytest.MonkeyPatch) -> None:
    async def take_proposal(self: Flows, flow: Flow, grant: str) -> str:
        if not flow.proposed:
            raise errors.grant_invalid()
        return flow.proposed

    patch.setattr(Flows, "take_proposal", take_proposal)


def handsets_use_the_sites_budget(patch: pytest.MonkeyPatch) -> None:
    def subject(self: TemporaryPasswords, _: Any, account_id: UUID | None, identifier: Any) -> UUID:
        return account_id or self.recovery.lookup.guard_of(identifier)

    patch.setattr(TemporaryPasswords, "_subject_of", subject)


def policy_does_not_hold_for_texts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("services.auth.texts.commands.failed_rules", lambda _: {})
