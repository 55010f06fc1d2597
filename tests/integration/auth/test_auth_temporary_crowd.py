"""Many at once at one one-time password, by two replicas: three tries and one use, whatever the order (M5, M6, M22)."""

import asyncio
import random
from collections import Counter

import pytest

from services.auth.identifiers import Phone
from services.auth.texts.inbound import InboundText
from services.chassis.clock import boottime
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import PHONE, Suite, refusal_of

pytestmark = [pytest.mark.usefixtures("patient_pools"), pytest.mark.row("M5"), pytest.mark.row("M22"), pytest.mark.row("B1")]

ROUNDS, GUESSES = 6, 100
WAYS = ["site", "handset", "proposal"]
PROPOSED = "Proposed-26-Password"
# Wrong checks of so many rounds are no spray and spend no budget here: that has tests of its own.
PATIENT = {"longer_after_wrong": 1000, "longest_after_wrong": 1000, "refuse_after_wrong": 1000}


async def asked(suite: Suite, way: str) -> str:
    if way == "site":
        return await suite.temporary_password()
    commands = await suite.start_commands()
    suite.said.add(PROPOSED)
    to, said = ("111", f"25 {PROPOSED}") if way == "proposal" else ("3339", "ПАРОЛЬ")
    await commands.obey(InboundText(Phone(PHONE), to, said, boottime() + 60))
    return await suite.newest_password()


async def all_at_once(suite: Suite, guesses: list[str]) -> Counter[str]:
    replicas = [suite.auth, await suite.start_auth()]
    calls = (replicas[place % 2].use_temporary(guess) for place, guess in enumerate(guesses))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return Counter("in" if isinstance(one, str) else refusal_of(one).reason for one in answers)


async def evaluated(suite: Suite) -> tuple[int, int, int]:
    """Of the newest one: tries counted, wrong and right checks recorded."""
    row = await suite.otp_sql.fetchrow(
        "SELECT tries + other_tries AS tries, count(*) FILTER (WHERE type = 'OtpFailed') AS wrong,"
        " count(*) FILTER (WHERE type = 'OtpVerified')"
        " AS used FROM challenge c JOIN event e ON e.stream_id = c.id"
        " WHERE c.id = (SELECT id FROM challenge WHERE purpose > 2 ORDER BY issued_at DESC LIMIT 1) GROUP BY c.id"
    )
    return row["tries"], row["wrong"], row["used"]


@pytest.mark.parametrize("way", WAYS)
async def test_of_a_hundred_parallel_guesses_three_at_most_are_evaluated_and_one_gets_in(start: StartSuite, way: str) -> None:
    suite = await start(auth={"call_timeout_s": 20}, otp=PATIENT)
    session = await suite.register()
    seen: Counter[str] = Counter()
    for round_number in range(ROUNDS):
        right = await asked(suite, way)
        guesses = [("2" if right[0] != "2" else "3") * len(right)] * (GUESSES - 1)
        # Among the first ones at times, so that it is one of the three.
        place = random.Random(f"{way} {round_number}").randrange(4 if round_number % 2 else GUESSES)
        guesses.insert(place, right)
        answers = await all_at_once(suite, guesses)
        tries, wrong, used = await evaluated(suite)
        assert tries <= 3
        assert (answers["CODE_REJECTED"], answers["in"]) == (wrong, used)
        assert wrong + used == tries
        assert used <= 1
        assert answers.total() == answers["CODE_REJECTED"] + answers["in"] + answers["CODE_DEAD"] == GUESSES
        seen.update(answers)
    kinds = Counter(await suite.kinds(session.account_id))
    assert kinds["TemporaryPasswordUsed"] == seen["in"]
    assert kinds["LoginFailed"] == 0
    assert await suite.strikes(session.account_id) == 0


@pytest.mark.parametrize("way", WAYS)
async def test_of_fifty_parallel_right_ones_exactly_one_gets_in(start: StartSuite, way: str) -> None:
    suite = await start(auth={"call_timeout_s": 20}, otp=PATIENT)
    session = await suite.register()
    right = await asked(suite, way)
    assert await all_at_once(suite, [right] * 50) == {"in": 1, "CODE_DEAD": 49}
    assert (await evaluated(suite))[2] == 1
    assert (await suite.kinds(session.account_id)).count("TemporaryPasswordUsed") == 1
