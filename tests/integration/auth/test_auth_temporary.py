"""One-time passwords by SMS (M5): good for one sign-in, which leads no further than to choosing a permanent one."""

import asyncio
from collections import Counter
from typing import Any

import pytest

import services.auth.flows.temporary
from tests.integration.auth.conftest import Gate, StartSuite
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, Suite, refusal, refusal_of
from tests.integration.waiting import until

WRONG = "22222222"


async def epoch(suite: Suite) -> Any:
    return await suite.lockout_sql.fetchval("SELECT max(epoch) FROM subject")


@pytest.mark.row("M5")
async def test_it_signs_in_once_and_no_further_than_to_the_choice_of_a_permanent_one(suite: Suite) -> None:
    session = await suite.register()
    password = await suite.temporary_password()
    assert await suite.auth.is_active(session.token), "asking ends nothing"
    grant = await suite.auth.use_temporary(f" {password[:4].lower()}-{password[4:]} ")
    assert not await suite.auth.is_active(session.token)
    assert (await refusal(suite.auth.sign_in())).reason == "CREDENTIALS_REJECTED", "the permanent one is gone"
    assert (await refusal(suite.auth.use_temporary(password))).reason == "CODE_DEAD"
    assert await suite.sql.fetchval("SELECT count(*) FROM session WHERE ended_at IS NULL") == 0
    chosen = await suite.auth.choose_permanent(grant)
    assert await suite.auth.is_active(chosen.token)
    assert (await refusal(suite.auth.choose_permanent(grant))).reason == "GRANT_INVALID"
    assert (await suite.auth.sign_in(password=NEW_PASSWORD)).account_id == session.account_id
    kinds = await suite.kinds(session.account_id)
    assert kinds[2:4] == ["TemporaryPasswordUsed", "SessionEnded"]
    assert kinds.count("PasswordReset") == 1


@pytest.mark.row("M5")
@pytest.mark.row("M3")
async def test_asking_for_one_lifts_no_block_and_using_it_does(suite: Suite) -> None:
    await suite.register()
    await suite.wrong(3)
    password = await suite.temporary_password()
    assert (await refusal(suite.auth.sign_in())).reason == "SIGN_IN_BLOCKED"
    assert await epoch(suite) == 1
    grant = await suite.auth.use_temporary(password)
    assert await epoch(suite) == 2, "told at once"
    assert not await suite.lockout_sql.fetchval("SELECT blocked_at FROM subject")
    await suite.auth.choose_permanent(grant)
    await suite.play_stream()
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M5")
@pytest.mark.row("M22")
async def test_it_has_three_tries_of_its_own(suite: Suite) -> None:
    session = await suite.register()
    password = await suite.temporary_password()
    for left in (2, 1, 0):
        refused = await refusal(suite.auth.use_temporary(WRONG))
        assert (refused.code, refused.reason, refused.metadata) == (
            "UNAUTHENTICATED",
            "CODE_REJECTED",
            {"tries_left": str(left)},
        )
    assert (await refusal(suite.auth.use_temporary(password))).reason == "CODE_DEAD"
    await suite.play_stream()
    assert await suite.strikes(session.account_id) == 0
    await suite.auth.sign_in()


@pytest.mark.row("M5")
@pytest.mark.row("B1")
async def test_of_fifty_parallel_guesses_three_are_checked_and_of_fifty_right_ones_one_signs_in(suite: Suite) -> None:
    await suite.register()
    await suite.temporary_password()
    wrong = await asyncio.gather(*(refusal(suite.auth.use_temporary(WRONG)) for _ in range(50)))
    assert Counter(one.reason for one in wrong) == {"CODE_REJECTED": 3, "CODE_DEAD": 47}
    password = await suite.temporary_password()
    right = await asyncio.gather(*(suite.auth.use_temporary(password) for _ in range(50)), return_exceptions=True)
    grants = [one for one in right if isinstance(one, str)]
    assert len(grants) == 1
    assert {refusal_of(one).reason for one in right if not isinstance(one, str)} == {"CODE_DEAD"}
    assert await suite.sql.fetchval("SELECT count(*) FROM event WHERE type = 'TemporaryPasswordUsed'") == 1


@pytest.mark.row("M5")
@pytest.mark.row("M10")
async def test_only_the_newest_is_good(suite: Suite) -> None:
    await suite.register()
    older, newer = await suite.temporary_password(), await suite.temporary_password()
    assert (await refusal(suite.auth.use_temporary(older))).reason == "CODE_REJECTED"
    await suite.auth.use_temporary(newer)


@pytest.mark.row("M5")
async def test_it_is_void_once_another_password_was_set(suite: Suite) -> None:
    session = await suite.register()
    password = await suite.temporary_password()
    await suite.auth.change(session.token)
    assert (await refusal(suite.auth.use_temporary(password))).reason == "CODE_DEAD"
    assert await suite.auth.is_active(session.token)


@pytest.mark.row("M5")
async def test_it_is_refused_when_its_time_is_over(start: StartSuite) -> None:
    suite = await start(otp={"password_lifetime_s": 0.3})
    await suite.register()
    await suite.auth.request_temporary()
    expires_at = await suite.otp_sql.fetchval("SELECT max(expires_at) FROM challenge WHERE purpose = 3")

    async def is_over() -> bool:
        return bool(await suite.otp_sql.fetchval("SELECT clock_timestamp() >= $1", expires_at))

    await until("its time is over", is_over)
    assert (await refusal(suite.auth.use_temporary(WRONG))).reason == "CODE_DEAD"


@pytest.mark.row("M5")
async def test_who_asks_again_in_between_takes_the_choice_from_nobody(suite: Suite) -> None:
    await suite.register()
    grant = await suite.auth.use_temporary(await suite.temporary_password())
    await suite.auth.request_temporary()
    await suite.auth.choose_permanent(grant)
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M5")
async def test_who_breaks_off_before_the_choice_gets_in_by_any_other_way(suite: Suite) -> None:
    await suite.register()
    await suite.auth.use_temporary(await suite.temporary_password())
    grant = await suite.auth.use_temporary(await suite.temporary_password())
    assert grant
    await suite.recover()
    await suite.auth.sign_in(password=NEW_PASSWORD)
    assert (await refusal(suite.auth.choose_permanent(grant, PASSWORD))).reason == "GRANT_INVALID"


@pytest.mark.row("M5")
@pytest.mark.row("M3")
async def test_without_a_permanent_password_no_password_signs_in_and_three_guesses_block(suite: Suite) -> None:
    session = await suite.register()
    await suite.auth.use_temporary(await suite.temporary_password())
    # What the dummy hash is of.
    refused = [await refusal(suite.auth.sign_in(password="nobody's password")) for _ in range(3)]
    assert {one.reason for one in refused} == {"CREDENTIALS_REJECTED"}
    await suite.play_stream()
    assert await suite.strikes(session.account_id) == 3


@pytest.mark.row("M5")
async def test_a_right_password_that_one_takes_away_meanwhile_signs_nobody_in_and_has_no_outcome(
    suite: Suite, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is settled, for lockout has not heard of the use yet; when it is to be appended there is no password any more."""

    async def untold(*_: Any) -> None:
        pass

    session = await suite.register()
    password = await suite.temporary_password()
    monkeypatch.setattr(services.auth.flows.temporary, "tell_new_version", untold)
    gate.clear()
    right = asyncio.create_task(suite.auth.sign_in())
    assert await asyncio.to_thread(gate.reached.wait, 10)
    await suite.auth.use_temporary(password)
    gate.set()
    assert (await refusal(right)).reason == "TEMPORARILY_UNAVAILABLE"
    assert (await suite.kinds(session.account_id))[-1] == "SessionEnded"


@pytest.mark.row("M5")
async def test_its_grant_and_that_of_a_recovery_do_not_pass_for_each_other(suite: Suite) -> None:
    await suite.register()
    recovery = await suite.confirmed("Recovery")
    assert (await refusal(suite.auth.choose_permanent(recovery))).reason == "GRANT_INVALID"
    temporary = await suite.auth.use_temporary(await suite.temporary_password())
    assert (await refusal(suite.auth.flow("Recovery").choose(temporary))).reason == "GRANT_INVALID"
    await suite.auth.choose_permanent(temporary)


@pytest.mark.row("M5")
async def test_for_a_number_that_nobody_has_nothing_is_sent_and_nothing_is_right(suite: Suite) -> None:
    await suite.register()
    await suite.auth.request_temporary(OTHER_PHONE)
    assert await suite.otp_sql.fetchval("SELECT is_decoy FROM challenge WHERE purpose = 3")
    for left in (2, 1, 0):
        assert (await refusal(suite.auth.use_temporary(WRONG, OTHER_PHONE))).metadata == {"tries_left": str(left)}
    assert (await refusal(suite.auth.use_temporary(WRONG, OTHER_PHONE))).reason == "CODE_DEAD"


@pytest.mark.row("M5")
@pytest.mark.parametrize("typed", ["", "1234", "22222222222", "2222222O", "Пароль22", "2222 222!"])
async def test_what_has_not_its_form_costs_no_try(suite: Suite, typed: str) -> None:
    await suite.register()
    password = await suite.temporary_password()
    refused = await refusal(suite.auth.use_temporary(typed, PHONE))
    assert (refused.code, list(refused.violations)) == ("INVALID_ARGUMENT", ["temporary_password"])
    assert await suite.otp_sql.fetchval("SELECT max(tries + other_tries) FROM challenge WHERE purpose = 3") == 0
    await suite.auth.use_temporary(password)
