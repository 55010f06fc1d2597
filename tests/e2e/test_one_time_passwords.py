"""One-time passwords from the handset's side: guessed at by many at once (B1), asked for again (M10), beside others (M22)."""

import asyncio
import random
from collections import Counter
from uuid import UUID

import pytest

from devstack.subscriber import Subscriber, new_client
from services.chassis.errors import ServiceError
from tests.e2e.system import NEW_PASSWORD, PASSWORD, WRONG, System, once_cooled_down

_ROUNDS = 6
_WRONG = "2222222222"


async def _asked(system: System, person: Subscriber, way: str) -> str:
    match way:
        case "site":
            await system.back_end.request_temporary_password(person.phone, person.client)
        case "handset":
            await person.texts("3339", "ПАРОЛЬ")
        case "proposal":
            await person.texts("111", f"25 {NEW_PASSWORD}")
    return (await person.read_temporary_password())[0]


async def _answer(person: Subscriber, password: str) -> str:
    try:
        await person.back_end.sign_in_with_temporary_password(person.phone, password, new_client())
    except ServiceError as error:
        return error.reason
    return "in"


async def _uses(system: System, account_id: UUID) -> int:
    return (await system.history(account_id)).count("TemporaryPasswordUsed")


@pytest.mark.row("M5")
@pytest.mark.row("M6")
@pytest.mark.row("B1")
@pytest.mark.parametrize("way", ["site", "handset", "proposal"])
async def test_of_200_parallel_guesses_at_a_one_time_password_three_at_most_are_evaluated(system: System, way: str) -> None:
    seen: Counter[str] = Counter()
    for round_number in range(_ROUNDS):
        person, account_id = await system.registered()
        right = await _asked(system, person, way)
        guesses = [_WRONG[: len(right)]] * 199
        # Among the first ones at times, so that it is one of the three.
        guesses.insert(random.Random(f"{way} {round_number}").randrange(4 if round_number % 2 else 200), right)
        answers = Counter(await asyncio.gather(*(_answer(person, guess) for guess in guesses)))
        checks = await system.query(
            "otp",
            "SELECT max(c.tries + c.other_tries) AS tries,"
            " count(*) FILTER (WHERE e.type IN ('OtpFailed', 'OtpVerified')) AS recorded"
            " FROM challenge c JOIN event e ON e.stream_id = c.id WHERE purpose > 2 AND c.id IN"
            " (SELECT challenge_id FROM claim_audit) GROUP BY c.id ORDER BY max(c.issued_at) DESC LIMIT 1",
        )
        assert checks[0]["tries"] == checks[0]["recorded"] == answers["CODE_REJECTED"] + answers["in"] <= 3
        assert answers["in"] == await _uses(system, account_id) <= 1
        assert set(answers) <= {"in", "CODE_REJECTED", "CODE_DEAD"}
        seen.update(answers)
    print(f"{_ROUNDS} rounds of 200 guesses: {dict(seen)}")


@pytest.mark.row("M5")
@pytest.mark.row("B1")
async def test_of_fifty_parallel_right_ones_exactly_one_gets_in(system: System) -> None:
    person, account_id = await system.registered()
    right = await _asked(system, person, "site")
    answers = Counter(await asyncio.gather(*(_answer(person, right) for _ in range(50))))
    assert answers == {"in": 1, "CODE_DEAD": 49}
    assert await _uses(system, account_id) == 1


@pytest.mark.row("M10")
@pytest.mark.row("M5")
async def test_asked_for_again_the_newest_works_and_the_message_names_its_request(system: System) -> None:
    person, _ = await system.registered()
    passwords = []
    for _ in range(3):
        asked = await once_cooled_down(lambda: system.back_end.request_temporary_password(person.phone, person.client))
        password, text = await person.read_temporary_password()
        assert f"№ {asked.tag}" in text
        passwords.append(password)
    with pytest.raises(ServiceError, match="COOL_DOWN") as refused:
        await system.back_end.request_temporary_password(person.phone, person.client)
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after.total_seconds() <= 1
    assert [await _answer(person, one) for one in passwords] == ["CODE_REJECTED", "CODE_REJECTED", "in"]


@pytest.mark.row("M10")
@pytest.mark.row("M5")
async def test_what_the_owner_asked_for_signs_in_by_its_grant_whatever_strangers_ask_for_and_guess(system: System) -> None:
    person, _ = await system.registered()
    own = await once_cooled_down(lambda: system.back_end.request_temporary_password(person.phone, person.client))
    password, _ = await person.read_temporary_password()
    answers = [await _answer(person, _WRONG[:8]) for _ in range(4)]
    assert answers == ["CODE_REJECTED"] * 3 + ["CODE_DEAD"]
    await once_cooled_down(lambda: system.back_end.request_temporary_password(person.phone, new_client()))
    assert [await _answer(person, _WRONG[:8]) for _ in range(3)] == ["CODE_REJECTED"] * 3
    assert await system.back_end.sign_in_with_temporary_password(person.phone, password, person.client, own.grant)


@pytest.mark.row("M22")
@pytest.mark.row("M3")
async def test_each_secret_has_a_budget_of_its_own(system: System) -> None:
    person, account_id = await system.registered()
    of_the_site, of_the_handset = [await _asked(system, person, way) for way in ("site", "handset")]
    for _ in range(3):
        assert await _answer(person, _WRONG[:8]) == "CODE_REJECTED"
    assert await _answer(person, of_the_site) == "CODE_DEAD"
    assert (await system.status(account_id)).strikes == 0, "they are no guesses at the permanent password"
    await person.sign_in(PASSWORD)
    for _ in range(3):
        await person.refused(WRONG)
    assert (await system.until_settled(account_id)).strikes == 3
    assert (await person.refused(PASSWORD)).reason == "SIGN_IN_BLOCKED"
    for left in ("2", "1"):
        with pytest.raises(ServiceError, match="CODE_REJECTED") as refused:
            await system.back_end.sign_in_with_temporary_password(person.phone, _WRONG, person.client)
        assert refused.value.metadata["tries_left"] == left, "the handset's own has lost none"
    grant = await system.back_end.sign_in_with_temporary_password(person.phone, of_the_handset, person.client)
    await system.back_end.choose_permanent_password(grant, NEW_PASSWORD, person.client)
    await person.sign_in(NEW_PASSWORD)
