"""What is written down: events that fold to the state, and nothing that anybody typed (B2, B5)."""

import pytest

from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import IP, NEW_PASSWORD, PASSWORD, PHONE, UNKNOWN_PHONE, Suite, refusal
from tests.integration.rebuilding import assert_rows_are_their_events


async def live_through_everything(suite: Suite) -> None:
    session = await suite.register()
    await suite.wrong(1)
    await suite.wrong(1, UNKNOWN_PHONE)
    costlier = await suite.start_auth(argon2_iterations=2)
    await costlier.sign_in()
    await suite.auth.change(session.token)
    await suite.wrong(3)
    await refusal(suite.auth.sign_in(password=NEW_PASSWORD))
    await suite.recover(PHONE, PASSWORD)
    await suite.register(PHONE, NEW_PASSWORD)
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("B5")
async def test_accounts_and_sessions_are_their_events_bit_for_bit(suite: Suite) -> None:
    await live_through_everything(suite)
    await assert_rows_are_their_events(suite.sql, "auth", suite.keys_dir)
    rows = await suite.sql.fetch("SELECT DISTINCT type FROM event")
    assert {row["type"] for row in rows} == {
        "AccountRegistered", "SessionStarted", "SessionEnded", "LoginFailed", "LoginSucceeded", "LoginRefused",
        "PasswordRehashed", "PasswordChanged", "PasswordReset",
    }  # fmt: skip


@pytest.mark.row("B5")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE account SET open_failures = array_append(open_failures, gen_random_uuid())",
        "UPDATE account SET password = password || '\\x00'",
        "UPDATE session SET expires_at = expires_at + interval '1 microsecond'",
        "DELETE FROM session",
    ],
)
async def test_a_state_that_its_events_do_not_explain_is_found(suite: Suite, change: str) -> None:
    await suite.register()
    async with suite.sql.transaction():
        savepoint = suite.sql.transaction()
        await savepoint.start()
        await suite.sql.execute(change)
        with pytest.raises(AssertionError):
            await assert_rows_are_their_events(suite.sql, "auth", suite.keys_dir)
        await savepoint.rollback()


@pytest.mark.row("B2")
async def test_no_number_password_code_or_address_is_in_any_event_or_log(start: StartSuite) -> None:
    suite = await start(otp={"code_digits": 8})
    await live_through_everything(suite)
    codes = {said for said in suite.said if said.isdigit()}
    assert len(codes) >= 3
    assert {PASSWORD, NEW_PASSWORD, IP} < suite.said
    dump = []
    for table in ("account", "account_key", "session", "identifier", "stranger", "flow", "notice", "event", "outbox"):
        dump += [str(tuple(row)) for row in await suite.sql.fetch(f"SELECT * FROM {table}")]
    for secret in suite.said | {PHONE[2:], UNKNOWN_PHONE[2:], "argon2"}:
        assert not any(secret in line for line in dump), "in the database, in the clear"
    # The rest of what is promised is looked at after every test: see conftest.
