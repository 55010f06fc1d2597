"""Changing the password (M8), and whose a session is."""

import asyncio
from uuid import UUID

import grpc
import pytest
from zasov.events.v1.auth_event_pb2 import AuthEvent

from services.auth.passwords.hashing import HashingLine, Place
from services.auth.sessions import encode_token
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, Suite, refusal


@pytest.mark.row("M8")
async def test_a_change_needs_the_old_password_and_ends_the_other_sessions(suite: Suite) -> None:
    other, this, somebody = await suite.register(), await suite.auth.sign_in(), await suite.register(OTHER_PHONE)
    await suite.auth.change(this.token)
    assert await suite.lockout_sql.fetchval("SELECT max(epoch) FROM subject") == 2, "told at once, not at the next sign-in"
    assert await suite.auth.is_active(this.token), "this one goes on"
    assert not await suite.auth.is_active(other.token)
    assert await suite.auth.is_active(somebody.token)
    assert (await refusal(suite.auth.sign_in())).reason == "CREDENTIALS_REJECTED"
    await suite.auth.sign_in(password=NEW_PASSWORD)
    kinds = await suite.kinds(this.account_id)
    assert kinds[kinds.index("PasswordChanged") + 1] == "SessionEnded"


@pytest.mark.row("B1")
async def test_a_change_names_its_own_guess_and_the_wrong_ones_that_it_forgives(suite: Suite) -> None:
    session = await suite.register()
    await suite.wrong(2)
    await suite.auth.change(session.token)
    rows = await suite.sql.fetch("SELECT data FROM event WHERE type IN ('LoginFailed', 'PasswordChanged') ORDER BY version")
    *failed, changed = (AuthEvent.FromString(row["data"]) for row in rows)
    forgiven = [one.login_failed.attempt_id for one in failed]
    assert list(changed.password_changed.forgiven_attempt_ids) == forgiven
    assert UUID(changed.password_changed.attempt_id) not in map(UUID, forgiven)


@pytest.mark.row("M8")
@pytest.mark.row("M22")
async def test_a_wrong_old_password_is_a_guess_like_any_other(suite: Suite, evaluated: list[bool]) -> None:
    session = await suite.register()
    for left in (2, 1, 0):
        refused = await refusal(suite.auth.change(session.token, old="Wrong-1-password"))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "CREDENTIALS_REJECTED")
        assert refused.metadata == {"attempts_left": str(left)}
        await suite.play_stream()
    assert await suite.strikes(session.account_id) == 3
    blocked = await refusal(suite.auth.change(session.token))
    assert blocked == await refusal(suite.auth.sign_in())
    assert blocked.reason == "SIGN_IN_BLOCKED"
    assert evaluated == [False] * 3
    assert await suite.auth.is_active(session.token)


@pytest.mark.row("M8")
@pytest.mark.row("M21")
async def test_the_new_password_is_hashed_only_once_the_old_one_was_right(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each guess at an old password takes two hashes from everybody else."""
    session = await suite.register()
    hashed: list[str] = []
    hash_it = HashingLine.hash

    async def noted(self: HashingLine, place: Place, password: str) -> str:
        hashed.append(password)
        return await hash_it(self, place, password)

    monkeypatch.setattr(HashingLine, "hash", noted)
    refused = await refusal(suite.auth.change(session.token, old="Wrong-1-password"))
    assert refused.reason == "CREDENTIALS_REJECTED"
    assert hashed == []
    await suite.auth.change(session.token)
    assert hashed == [NEW_PASSWORD]


@pytest.mark.row("M8")
async def test_a_right_old_password_forgives_earlier_failures(suite: Suite) -> None:
    session = await suite.register()
    await suite.wrong(1)
    await refusal(suite.auth.sign_in(password="Wrong-1-password"))
    await suite.auth.change(session.token)
    await suite.play_stream()
    assert await suite.strikes(session.account_id) == await suite.open_attempts() == 0


@pytest.mark.row("M7")
@pytest.mark.row("M8")
async def test_a_new_password_against_the_policy_costs_no_guess(suite: Suite, evaluated: list[bool]) -> None:
    session = await suite.register()
    refused = await refusal(suite.auth.change(session.token, old="Wrong-1-password", new="password"))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "PASSWORD_POLICY")
    assert refused.metadata == {"failed_rules": "digit,upper_case,common"}
    assert list(refused.violations) == ["new_password"]
    assert not evaluated
    assert await suite.open_attempts() == 0


@pytest.mark.row("M8")
async def test_of_several_changes_at_once_one_wins_and_the_rest_have_no_outcome(suite: Suite) -> None:
    session = await suite.register()
    passwords = [f"Osen-na-Onege-{n}0" for n in range(3)]
    suite.said |= set(passwords)
    answers = await asyncio.gather(*(suite.auth.change(session.token, new=one) for one in passwords), return_exceptions=True)
    assert answers.count(None) == 1
    winner = passwords[answers.index(None)]
    assert {one.code() for one in answers if isinstance(one, grpc.aio.AioRpcError)} <= {
        grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED,
    }  # fmt: skip
    await suite.auth.sign_in(password=winner)
    assert await suite.sql.fetchval("SELECT credential_version FROM account") == 2


@pytest.mark.row("M8")
async def test_without_a_live_session_nothing_is_changed_and_nothing_guessed(suite: Suite, evaluated: list[bool]) -> None:
    ended, live = await suite.register(), await suite.recover(PHONE, PASSWORD)
    somebody = await suite.register(OTHER_PHONE)
    mixed = live.token[:30] + somebody.token[30:]
    for token in (ended.token, mixed, live.token[:-1], "x", live.token + "A"):
        refused = await refusal(suite.auth.change(token))
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "SESSION_INVALID")
        assert not await suite.auth.is_active(token)
    assert not evaluated
    await suite.auth.change(live.token)


async def test_a_session_that_ended_or_expired_is_inactive_and_tells_nothing_else(suite: Suite) -> None:
    session = await suite.register()
    alive = await suite.auth.introspect(session.token)
    assert (alive.active, alive.session_id, alive.expires_at) == (True, session.session_id, session.expires_at)
    for gone in ("ended_at = clock_timestamp()", "expires_at = clock_timestamp()"):
        # Rolled back: a state that no event explains must not last.
        kept = await suite.sql.fetchrow("SELECT ended_at, expires_at FROM session")
        await suite.sql.execute(f"UPDATE session SET {gone}")
        dead = await suite.auth.introspect(session.token)
        assert not dead.ListFields()
        assert (await refusal(suite.auth.change(session.token))).reason == "SESSION_INVALID"
        await suite.sql.execute("UPDATE session SET ended_at = $1, expires_at = $2", *kept)
    assert await suite.auth.is_active(session.token)


async def test_a_token_of_the_right_ids_and_another_secret_is_nobodys(suite: Suite) -> None:
    session = await suite.register()
    forged = encode_token(UUID(session.account_id), UUID(session.session_id), b"\0" * 32)
    assert not await suite.auth.is_active(forged)
