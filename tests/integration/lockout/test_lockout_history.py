"""The events are the truth; the rows are their fold; a penalty is a lease with an event."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
from zasov.events.v1.lockout_event_pb2 import LIMIT_DIMENSION_CODES_BY_IP, LIMIT_DIMENSION_FAILURES_BY_IP, LockoutEvent
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.lockout import store as outcome
from services.lockout.penalties import LimitKey
from tests.integration.lockout.conftest import Lockout, Server, Someone
from tests.integration.rebuilding import assert_rows_are_their_events
from tests.integration.waiting import until

FAILURES = LimitKey(LIMIT_DIMENSION_FAILURES_BY_IP, "2026-03", "aa" * 16)
CODES = LimitKey(LIMIT_DIMENSION_CODES_BY_IP, "2026-03", "aa" * 16)


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.row("B5")
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_side_by_side_the_rows_are_the_fold_of_the_events(lockout: Lockout, seed: int) -> None:
    chance = random.Random(seed)
    people = [Someone(stranger=n % 3 == 0) for n in range(6)]

    async def live(who: Someone) -> None:
        held = []
        for _ in range(25):
            match chance.choice(["admit", "admit", "wrong", "wrong", "right", "back", "epoch", "sweep"]):
                case "admit":
                    attempt_id = uuid4()
                    if isinstance(await lockout.store.admit(who.key, attempt_id, []), outcome.Admitted):
                        held.append(attempt_id)
                case "wrong" if held:
                    await lockout.store.record_failure(who.id, chance.choice(held))
                case "right" if held:
                    await lockout.store.settle_right(who.key, chance.choice(held), chance.sample(held, len(held) // 2))
                case "back" if held:
                    await lockout.store.give_back(who.id, held.pop())
                case "epoch" if not who.stranger and chance.random() < 0.5:
                    await lockout.store.raise_epoch(who.key, chance.randrange(1, 6))
                case "sweep" if chance.random() < 0.2:
                    await lockout.store.sweep(timedelta(milliseconds=5))

    await asyncio.gather(*(live(who) for who in people for _ in range(2)))
    assert await lockout.sql.fetchval("SELECT count(*) FROM event") > 20
    await assert_rows_are_their_events(lockout.sql, "lockout")


@pytest.mark.row("B5")
@pytest.mark.parametrize("change", ["strikes = 1", "epoch = 7", "version = version + 1", "stranger = true"])
async def test_a_row_that_was_edited_by_hand_is_found_out(lockout: Lockout, change: str) -> None:
    who = Someone()
    await lockout.strike(who, 2)
    before = await lockout.sql.fetchrow("SELECT strikes, epoch, version, stranger FROM subject")
    assert before is not None
    await lockout.sql.execute(f"UPDATE subject SET {change}")
    with pytest.raises(AssertionError):
        await assert_rows_are_their_events(lockout.sql, "lockout")
    await lockout.sql.execute("UPDATE subject SET strikes = $1, epoch = $2, version = $3, stranger = $4", *before)


@pytest.mark.row("B5")
@pytest.mark.parametrize("edit", ["UPDATE event SET data = ''", "UPDATE event SET is_public = false", "DELETE FROM event"])
async def test_history_is_not_edited(lockout: Lockout, edit: str) -> None:
    await lockout.strike(Someone())
    with pytest.raises(asyncpg.RaiseError, match="insert-only"):
        await lockout.sql.execute(edit)


async def test_an_event_with_its_outbox_row_and_its_state_or_nothing_at_all(lockout: Lockout) -> None:
    who = Someone()
    attempt_id = await lockout.open_attempt(who)
    await lockout.sql.execute("ALTER TABLE outbox ADD CONSTRAINT no_more CHECK (false) NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError):
        await lockout.store.record_failure(who.id, attempt_id)
    assert await lockout.state(who) == (0, False, 0, 1), "the attempt is open still: it can be settled later"
    assert await lockout.events(who) == []
    await lockout.sql.execute("ALTER TABLE outbox DROP CONSTRAINT no_more")
    await lockout.store.record_failure(who.id, attempt_id)
    assert await lockout.state(who) == (1, False, 0, 0)


async def test_who_decided_on_an_older_version_appends_nothing(lockout: Lockout) -> None:
    who = Someone()
    await lockout.strike(who)
    with pytest.raises(asyncpg.RaiseError, match="moved on"):
        await lockout.sql.execute(
            "SELECT append_subject(0, 2::smallint, NULL, $1, 1, $2, '{X}', '{now}', '{\"\"}', '{NULL}', '{true}', NULL)",
            who.id,
            [uuid4()],
        )


async def test_a_penalty_is_imposed_once_however_often_it_is_asked_for(lockout: Lockout) -> None:
    imposed = await asyncio.gather(*(lockout.penalties.impose(FAILURES, in_seconds(600)) for _ in range(8)))
    assert sorted(imposed) == [False] * 7 + [True]
    assert not await lockout.penalties.impose(FAILURES, in_seconds(900))
    rows = await lockout.sql.fetch("SELECT data, is_public FROM event")
    assert [row["is_public"] for row in rows] == [True]
    tripped = LockoutEvent.FromString(rows[0]["data"]).limit_tripped
    assert (tripped.dimension, tripped.key_id, tripped.pseudonym) == (1, FAILURES.key_id, FAILURES.pseudonym)


async def test_of_two_who_impose_the_next_penalty_at_once_one_does_and_the_other_sees_it(lockout: Lockout) -> None:
    await lockout.penalties.impose(FAILURES, in_seconds(600))
    await lockout.let_pass(601)
    async with lockout.sql.transaction():
        # Holds both back until both are there.
        await lockout.sql.execute("SELECT FROM penalty FOR UPDATE")
        imposing = [asyncio.create_task(lockout.penalties.impose(FAILURES, in_seconds(600))) for _ in range(2)]
        await until("both wait", lambda: lockout.are_waiting_for_locks(2))
    assert sorted(await asyncio.gather(*imposing)) == [False, True]


async def test_a_replay_of_what_is_long_past_imposes_nothing(lockout: Lockout) -> None:
    assert not await lockout.penalties.impose(FAILURES, in_seconds(-1))
    assert await lockout.sql.fetchval("SELECT count(*) FROM event") == 0
    assert isinstance(await lockout.store.admit(Someone().key, uuid4(), [FAILURES.pseudonym]), outcome.Admitted)


async def test_when_it_is_over_the_next_one_goes_on_in_the_same_stream(lockout: Lockout) -> None:
    assert await lockout.penalties.impose(FAILURES, in_seconds(600))
    await lockout.let_pass(601)
    assert isinstance(await lockout.store.admit(Someone().key, uuid4(), [FAILURES.pseudonym]), outcome.Admitted)
    assert await lockout.penalties.impose(FAILURES, in_seconds(600))
    versions = await lockout.sql.fetch("SELECT version FROM event WHERE stream_id = $1 ORDER BY 1", FAILURES.stream_id)
    assert [row["version"] for row in versions] == [1, 2]


async def test_an_origin_under_a_penalty_is_refused_and_costs_nobody_a_place(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.penalties.impose(FAILURES, in_seconds(600))
    for origin in ({"ip_pseudonym": FAILURES.pseudonym}, {"subnet_pseudonym": FAILURES.pseudonym}):
        limited = (await server.admit(who, uuid4(), **origin)).origin_limited
        assert 590 < limited.retry_after.seconds <= 600
    assert await lockout.state(who) == (0, False, 0, 0)
    assert (await server.admit(who, uuid4(), ip_pseudonym="bb" * 16)).WhichOneof("outcome") == "admitted"


@pytest.mark.row("M3")
async def test_an_origin_under_a_penalty_is_told_of_that_and_of_no_block(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.strike(who, 3)
    await lockout.penalties.impose(FAILURES, in_seconds(600))
    answer = await server.admit(who, uuid4(), ip_pseudonym=FAILURES.pseudonym)
    assert answer.WhichOneof("outcome") == "origin_limited"


async def test_a_penalty_on_codes_refuses_codes_and_not_sign_ins(lockout: Lockout, server: Server) -> None:
    origin = pb.OriginKeys(ip_pseudonym=CODES.pseudonym)
    request = pb.CheckOriginRequest(origin=origin)
    assert not (await server.stub.CheckOrigin(request, timeout=5)).HasField("limited")
    await lockout.penalties.impose(CODES, in_seconds(600))
    answer = await server.stub.CheckOrigin(request, timeout=5)
    assert 590 < answer.limited.retry_after.seconds <= 600
    assert (await server.admit(Someone(), uuid4(), ip_pseudonym=CODES.pseudonym)).WhichOneof("outcome") == "admitted"
