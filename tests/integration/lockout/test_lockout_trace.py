"""The protocol's trace tells the order of what happened to a subject as its row lock made it."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.chassis.protocol_trace import open_trace
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore
from tests.integration.lockout.conftest import Lockout, Someone
from tests.integration.waiting import until

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def traced(lockout_url: str, tmp_path: Path) -> AsyncIterator[LockoutStore]:
    async with AsyncExitStack() as stack:
        trace = stack.enter_context(open_trace(str(tmp_path), "lockout", "server"))
        database = await stack.enter_async_context(open_database(LockoutSettings(postgres_url=lockout_url)))
        yield LockoutStore(database, OutboxWaker(database), trace)


def lines_of(folder: Path, who: Someone) -> list[dict[str, Any]]:
    """A subject's, by their place; those in doubt have none and come last."""
    lines = [json.loads(line) for path in folder.iterdir() for line in path.read_text().splitlines()]
    return sorted((line for line in lines if line.get("subject") == str(who.id)), key=lambda line: line.get("place", math.inf))


async def until_somebody_waits(lockout: Lockout) -> None:
    """For a lock in lockout's database."""
    waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())"
    await until("somebody waits", lambda: lockout.sql.fetchval(waits))


async def test_places_are_in_the_order_of_the_subjects_lock(lockout: Lockout, traced: LockoutStore, tmp_path: Path) -> None:
    who = Someone()
    for _ in range(5):
        # All of them meet a subject that is new, at first: some insert it, some wait for that.
        attempts = [uuid4() for _ in range(8)]
        await asyncio.gather(*(traced.admit(who.key, attempt, []) for attempt in attempts))
        steps = [traced.record_failure(who.id, attempt) for attempt in attempts]
        steps += [traced.settle_right(who.key, attempt, []) for attempt in attempts]
        await asyncio.gather(*steps)
        await traced.raise_epoch(who.key, (await lockout.state(who))[2] + 1)
    lines = lines_of(tmp_path, who)
    assert len({line["place"] for line in lines}) == len(lines) == 5 * (8 + 16 + 1)
    strikes = taken = epoch = version = 0
    for line in lines:
        match line["step"], line["outcome"]:
            case "admit", "admitted":
                taken += 1
            case "admit", "full":
                assert strikes + taken == 3
            case "failure", "closed":
                taken, strikes, version = taken - 1, strikes + 1, version + len(line["events"])
            case "settle_right", "settled":
                taken, version, strikes = taken - 1, version + (strikes > 0), 0
            case "raise_epoch", "raised":
                assert line["to"] == epoch + 1
                strikes, taken, epoch, version = 0, 0, epoch + 1, line["version"]
            case _, "refused" | "nothing":
                pass
            case other:
                raise AssertionError(other)
        assert (line["strikes"], line["open"], line["epoch"], line["version"]) == (strikes, taken, epoch, version)


async def test_the_sweep_has_a_later_place_though_it_began_before(
    lockout: Lockout, traced: LockoutStore, tmp_path: Path
) -> None:
    """A transaction's id would tell it the other way round: the sweep's is as old as its first subject."""
    first, held, last = Someone(), Someone(), Someone()
    for who in (first, held, last):
        await lockout.open_attempt(who)
    await lockout.let_pass(61)
    async with lockout.sql.transaction():
        await lockout.sql.execute("SELECT FROM subject WHERE subject_id = $1 FOR UPDATE", held.id)
        sweep = asyncio.create_task(traced.sweep(MINUTE))
        await until_somebody_waits(lockout)
        await traced.admit(last.key, uuid4(), [])
    assert await sweep == 3
    admit, abandon = lines_of(tmp_path, last)
    assert (admit["step"], admit["open"]) == ("admit", 2)
    assert (abandon["step"], abandon["events"]) == ("abandon", ["AttemptAbandoned", "StrikeRecorded"])


async def test_a_place_given_back_and_a_step_that_could_not_be_made_are_told(
    lockout: Lockout, traced: LockoutStore, tmp_path: Path
) -> None:
    who, attempt_id = Someone(), uuid4()
    await traced.admit(who.key, attempt_id, [])
    assert await traced.give_back(who.id, attempt_id)
    assert not await traced.give_back(who.id, attempt_id)
    async with lockout.sql.transaction():
        await lockout.sql.execute("SELECT FROM subject WHERE subject_id = $1 FOR UPDATE", who.id)
        failing = asyncio.create_task(traced.raise_epoch(who.key, 2))
        await until_somebody_waits(lockout)
        failing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await failing
    *told, in_doubt = lines_of(tmp_path, who)
    outcomes = [(line["step"], line["outcome"], line["open"]) for line in told]
    assert outcomes == [("admit", "admitted", 1), ("give_back", "gone", 0), ("give_back", "nothing", 0)]
    assert in_doubt == {"step": "raise_epoch", "subject": str(who.id), "to": 2, "doubt": True}
