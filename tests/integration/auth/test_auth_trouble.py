"""Overload, callers that give up, and a database that goes away."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import services.auth
import services.chassis
from devstack.postgres import Postgres
from services.auth.passwords import hashing
from services.chassis.postgres import migrate
from services.chassis.settings import ChassisSettings
from tests.integration.auth.conftest import Gate, StartSuite
from tests.integration.auth.suite import PASSWORD, PHONE, Suite, refusal, refusal_of
from tests.integration.waiting import until

OCCUPANT = "+79169999999"


async def until_open(suite: Suite, count: int) -> None:
    async def are_open() -> bool:
        return await suite.open_attempts() == count

    await until(f"{count} open attempts", are_open)


@pytest.mark.row("M21")
async def test_more_sign_ins_than_places_are_refused_at_once_and_leave_no_attempt_open(
    start: StartSuite, gate: Gate, evaluated: list[bool]
) -> None:
    suite = await start(auth={"hash_places": 4, "hash_threads": 1})
    phones = [f"+7916000000{n}" for n in range(4)]
    for phone in phones:
        await suite.register(phone)
    gate.clear()
    under_way = [asyncio.create_task(suite.auth.sign_in(phone)) for phone in phones]
    await until_open(suite, 4)
    began = time.perf_counter()
    refusals = [await refusal(suite.auth.sign_in()) for _ in range(10)]
    assert (time.perf_counter() - began) / 10 < 0.05, "refused within 50 ms"
    for refused in refusals:
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
        assert refused.retry_s is not None
        assert refused.retry_s >= 0.1
    assert await suite.open_attempts() == 4
    gate.set()
    assert len(await asyncio.gather(*under_way)) == 4
    assert await suite.open_attempts() == 0
    assert evaluated == [True] * 4
    await suite.auth.sign_in(phones[0])


@pytest.mark.row("M21")
async def test_one_subscriber_cannot_keep_all_others_out(start: StartSuite, gate: Gate) -> None:
    suite = await start(auth={"hash_places": 8, "hash_places_per_subject": 2, "hash_threads": 1})
    await suite.register()
    await suite.register(OCCUPANT)
    gate.clear()
    mine = [asyncio.create_task(suite.auth.sign_in()) for _ in range(2)]
    await until_open(suite, 2)
    assert (await refusal(suite.auth.sign_in())).reason == "OVERLOADED"
    other = asyncio.create_task(suite.auth.sign_in(OCCUPANT))
    await until_open(suite, 3)
    gate.set()
    await asyncio.gather(*mine, other)


@pytest.mark.row("B1")
async def test_a_thousand_calls_cut_off_before_the_hash_leave_no_strike_and_no_open_attempt(
    start: StartSuite, gate: Gate, evaluated: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_READY", 2000)  # else most are cut off before they are admitted, which is not what is asked
    suite = await start(
        auth={"hash_places": 2000, "hash_places_per_subject": 2000, "hash_threads": 1, "max_concurrent_calls": 5000},
        lockout={"max_concurrent_calls": 5000},
    )
    await suite.register(OCCUPANT)
    account = (await suite.register()).account_id
    gate.clear()
    occupant = asyncio.create_task(suite.auth.sign_in(OCCUPANT, timeout=60))
    await asyncio.to_thread(gate.reached.wait, 10)

    async def cut_off(n: int) -> Any:
        phone = PHONE if n % 2 else f"+7903{n:07d}"
        return await asyncio.gather(suite.auth.sign_in(phone, timeout=0.15 + n % 10 * 0.1), return_exceptions=True)

    answers = await asyncio.gather(*(cut_off(n) for n in range(1000)))
    codes = {refusal_of(answer).code for (answer,) in answers}
    assert codes <= {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
    assert await suite.lockout_sql.fetchval("SELECT count(*) FROM subject") > 5, "some had been admitted"
    assert not evaluated
    gate.set()
    await occupant
    await until_open(suite, 0)
    assert evaluated == [True]
    await suite.play_stream()
    assert await suite.lockout_sql.fetchval("SELECT max(strikes) FROM subject") == 0
    assert not await suite.sql.fetchval("SELECT count(*) FROM event WHERE type IN ('LoginFailed', 'LoginRefused')")
    assert (await suite.auth.sign_in()).account_id == account


@pytest.mark.row("B1")
async def test_who_hangs_up_during_the_hash_is_struck_all_the_same(
    start: StartSuite, gate: Gate, evaluated: list[bool]
) -> None:
    suite = await start(auth={"hash_threads": 1})
    account = (await suite.register()).account_id
    gate.clear()
    guess = asyncio.create_task(suite.auth.sign_in(password="Wrong-1-password"))
    await asyncio.to_thread(gate.reached.wait, 10)
    guess.cancel()
    with pytest.raises(asyncio.CancelledError):
        await guess
    gate.set()

    async def is_recorded() -> bool:
        return "LoginFailed" in await suite.kinds(account)

    await until("recorded", is_recorded)
    await suite.play_stream()
    assert await suite.strikes(account) == 1
    assert evaluated == [False]


@pytest.mark.row("B7")
async def test_with_lockout_away_nobody_signs_in_and_nothing_is_evaluated(suite: Suite, evaluated: list[bool]) -> None:
    await suite.register()
    nowhere = await suite.start_auth(lockout_address="127.0.0.1:1", call_timeout_s=0.5, admission_timeout_s=0.5)
    away = await refusal(nowhere.sign_in())
    assert (away.code, away.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE")
    assert away.retry_s
    assert not evaluated


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path)
    server.init()
    server.start()
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()
        server.destroy()


@pytest.mark.kills
@pytest.mark.row("B7")
async def test_with_its_database_away_auth_says_so_and_is_well_again_by_itself(
    own_postgres: Postgres, start: StartSuite, gate: Gate
) -> None:
    url = own_postgres.create_database("auth")
    folders = [Path(str(package.__file__)).parent / "migrations" for package in (services.chassis, services.auth)]
    await migrate(ChassisSettings(postgres_url=url), folders)
    suite = await start(auth={"postgres_url": url})
    session = await suite.register()
    gate.clear()
    caught_by_it = asyncio.create_task(suite.auth.sign_in(password="Wrong-1-password"))
    await asyncio.to_thread(gate.reached.wait, 10)
    await suite.sql.close()
    await asyncio.to_thread(own_postgres.kill)
    gate.set()
    calls = {
        "the guess that was under way": caught_by_it,
        "sign in": suite.auth.sign_in(),
        "introspect": suite.auth.introspect(session.token),
        "start": suite.auth.flow("Recovery").start(),
    }
    for name, call in calls.items():
        away = await refusal(call)
        assert (away.code, away.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE"), name
        assert away.retry_s, name
    own_postgres.start()
    await asyncio.to_thread(own_postgres.wait_ready)
    suite.sql = await asyncpg.connect(url)

    async def signs_in() -> bool:
        (answer,) = await asyncio.gather(suite.auth.sign_in(password=PASSWORD), return_exceptions=True)
        return not isinstance(answer, BaseException) or refusal_of(answer).code != "UNAVAILABLE"

    await until("well again", signs_in)
    await suite.auth.sign_in()
    assert await suite.auth.is_active(session.token)
    assert await suite.open_attempts() == 1, "what was evaluated and not stored stays open until the sweep counts it"
