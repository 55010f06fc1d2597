"""Exactly three (B1): whatever the parallelism, and with the stream standing still."""

import asyncio
import random
import signal
from collections import Counter

import pytest

from devstack.subscriber import Subscriber, new_client
from services.chassis.errors import ServiceError
from tests.e2e.system import PASSWORD, WRONG, System, until

pytestmark = [pytest.mark.row("M3"), pytest.mark.row("B1")]


async def test_of_200_parallel_guesses_never_more_than_three_wrong_ones_are_evaluated(system: System) -> None:
    seen: Counter[str] = Counter()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for round_number in range(30):
        person, account_id = await system.registered()
        guesses = [f"{WRONG}-{number}" for number in range(199)]
        # In each third round it is among the first three, which are evaluated; elsewhere it hardly ever is.
        guesses.insert(draw.randrange(200 if round_number % 3 else 3), PASSWORD)
        answers = await asyncio.gather(*(_answer(person, guess) for guess in guesses))
        seen.update(answers)
        history = (await system.history(account_id))[2:]  # after AccountRegistered and SessionStarted
        before, after = _split_at_success(history)
        assert before <= 3, f"round {round_number}: {history}"
        assert after <= 3, f"round {round_number}: {history}"
        if "LoginSucceeded" in history:
            assert before < 3, f"round {round_number}: the right guess got in after three wrong ones"
        assert answers.count("signed in") == history.count("LoginSucceeded") <= 1
        assert answers.count("CREDENTIALS_REJECTED") <= before + after
    print(f"30 rounds of 200 guesses: {dict(seen)}")
    assert seen["signed in"] > 0
    assert seen["CREDENTIALS_REJECTED"] > 60, "in each of the other rounds three were evaluated"


async def test_fifty_parallel_right_sign_ins_all_succeed(system: System) -> None:
    person, account_id = await system.registered()
    answers = await asyncio.gather(*(_answer(person, PASSWORD) for _ in range(50)))
    assert Counter(answers) == {"signed in": 50}
    status = await system.status(account_id)
    assert (status.strikes, status.open_attempts) == (0, 0)


@pytest.mark.parametrize("stream", ["running", "stopped"])
async def test_a_wrong_a_right_and_two_wrong_ones_do_not_block(system: System, stream: str) -> None:
    person, account_id = await system.registered()
    if stream == "stopped":
        system.stack.supervisor.kill("lockout-stream", signal.SIGSTOP)
    try:
        assert await _answer(person, WRONG) == "CREDENTIALS_REJECTED"
        await person.sign_in(PASSWORD)
        assert await _answer(person, WRONG) == "CREDENTIALS_REJECTED"
        assert await _answer(person, WRONG) == "CREDENTIALS_REJECTED"
        await person.sign_in(PASSWORD)
    finally:
        system.stack.supervisor.kill("lockout-stream", signal.SIGCONT)
    status = await system.until_settled(account_id)
    assert status.strikes == 0
    assert not status.HasField("blocked_at")


async def test_a_right_password_wipes_strikes_but_lifts_no_block(system: System) -> None:
    person, account_id = await system.registered()
    for _ in range(2):
        await _answer(person, WRONG)
    assert (await system.until_settled(account_id)).strikes == 2
    await person.sign_in(PASSWORD)
    assert (await system.status(account_id)).strikes == 0
    for _ in range(3):
        await _answer(person, WRONG)
    assert (await system.until_settled(account_id)).HasField("blocked_at")
    assert await _answer(person, PASSWORD) == "SIGN_IN_BLOCKED"
    assert (await system.status(account_id)).HasField("blocked_at")


@pytest.mark.row("M21")
async def test_calls_refused_for_overload_or_cut_off_before_the_hash_leave_no_strike(system: System) -> None:
    crowd = [await system.registered() for _ in range(5)]
    # A thousand in all: half have times that run out anywhere in the line, and of the others most find no place in it.
    times = [0.15 + 0.02 * n for n in range(100)] + [10.0] * 100
    calls = [_answer(one, PASSWORD, timeout_s) for timeout_s in times for one, _ in crowd]
    answers = Counter(await asyncio.gather(*calls))
    assert "CREDENTIALS_REJECTED" not in answers
    assert answers["OVERLOADED"] > 0
    assert answers["TEMPORARILY_UNAVAILABLE"] > 0
    assert answers.total() == 1000
    for person, account_id in crowd:
        status = await system.until_settled(account_id)
        assert status.strikes == 0
        assert "LoginFailed" not in await system.history(account_id)
        assert await _answer(person, PASSWORD) == "signed in"


@pytest.mark.row("M21")
async def test_an_attempt_that_is_lost_in_a_crash_counts_as_wrong(system: System) -> None:
    person, account_id = await system.registered()
    crash = asyncio.gather(*(_answer(person, PASSWORD) for _ in range(20)))
    await until(lambda: system.status(account_id), lambda status: status.open_attempts > 0)
    system.stack.supervisor.kill("auth-server")
    await crash
    lost = (await system.status(account_id)).open_attempts
    system.stack.supervisor.restart("auth-server")
    await asyncio.to_thread(system.stack.wait_role, "auth-server")
    status = await system.until_settled(account_id)
    assert status.strikes == lost
    abandoned = await system.query(
        "lockout", "SELECT count(*) AS n FROM event WHERE stream_id = $1 AND type = 'AttemptAbandoned'", account_id
    )
    assert abandoned[0]["n"] == lost


async def _answer(person: Subscriber, password: str, timeout_s: float | None = None) -> str:
    """How a sign-in is answered. Each comes from an address of its own: what is shown here is the hard limit."""
    try:
        await person.back_end.sign_in(person.phone, password, new_client(), timeout_s)
    except ServiceError as error:
        return error.reason
    return "signed in"


def _split_at_success(history: list[str]) -> tuple[int, int]:
    """Failures before the first success and after it; all before if there is none."""
    at = history.index("LoginSucceeded") if "LoginSucceeded" in history else len(history)
    return history[:at].count("LoginFailed"), history[at:].count("LoginFailed")
