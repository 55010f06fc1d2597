"""What becomes of an attempt: right, wrong, never evaluated, lost, or voided by a new password."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.chassis.protocol_trace import Line
from services.lockout import store as outcome
from services.lockout.domain import decide_failure
from tests.integration.lockout.conftest import Lockout, Server, Someone
from tests.integration.waiting import until

MINUTE = timedelta(minutes=1)


async def insert_attempt(lockout: Lockout, who: Someone, epoch: int) -> UUID:
    """An attempt that the protocol would not have left there: as after a restored backup, or a bug elsewhere."""
    attempt_id = uuid4()
    await lockout.sql.execute(
        "INSERT INTO attempt (subject_id, attempt_id, epoch) VALUES ($1, $2, $3)", who.id, attempt_id, epoch
    )
    return attempt_id


@pytest.mark.row("B1")
async def test_a_guess_that_was_never_evaluated_is_given_back_and_can_never_be_evaluated(
    lockout: Lockout, server: Server
) -> None:
    who = Someone()
    await lockout.strike(who)
    attempt_id = await lockout.open_attempt(who)
    assert await server.give_back(who, attempt_id)
    assert not await server.give_back(who, attempt_id)
    assert not await server.right(who, attempt_id)
    await lockout.store.record_failure(who.id, attempt_id)
    assert await lockout.state(who) == (1, False, 0, 0)


@pytest.mark.row("B1")
async def test_a_redelivered_failure_strikes_once(lockout: Lockout) -> None:
    who = Someone()
    attempt_id = await lockout.open_attempt(who)
    await asyncio.gather(*(lockout.store.record_failure(who.id, attempt_id) for _ in range(10)))
    await lockout.store.record_failure(who.id, attempt_id)
    assert await lockout.state(who) == (1, False, 0, 0)
    assert await lockout.events(who) == ["StrikeRecorded"]


@pytest.mark.row("M3")
async def test_the_third_strike_blocks_and_nobody_is_admitted_after_it(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.strike(who, 2)
    assert await lockout.state(who) == (2, False, 0, 0)
    await lockout.strike(who)
    assert await lockout.state(who) == (3, True, 0, 0)
    assert await lockout.events(who) == ["StrikeRecorded"] * 3 + ["AccountBlocked"]
    answers = await asyncio.gather(*(server.admit(who, uuid4()) for _ in range(10)))
    assert {answer.WhichOneof("outcome") for answer in answers} == {"blocked"}


@pytest.mark.row("M3")
async def test_strikes_recorded_side_by_side_block_once(lockout: Lockout) -> None:
    who = Someone()
    attempts = [await lockout.open_attempt(who) for _ in range(3)]
    await asyncio.gather(*(lockout.store.record_failure(who.id, one) for one in attempts * 3))
    assert await lockout.events(who) == ["StrikeRecorded"] * 3 + ["AccountBlocked"]


@pytest.mark.row("M3")
async def test_a_right_password_clears_two_strikes(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.strike(who, 2)
    assert await server.right(who, await lockout.open_attempt(who))
    assert await lockout.state(who) == (0, False, 0, 0)
    assert await lockout.events(who) == ["StrikeRecorded"] * 2 + ["StrikesCleared"]


@pytest.mark.row("M3")
async def test_a_right_password_does_not_lift_a_block(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.strike(who, 3)
    await server.right(who, await insert_attempt(lockout, who, epoch=0))
    assert await lockout.state(who) == (3, True, 0, 0)
    assert (await server.admit(who, uuid4())).WhichOneof("outcome") == "blocked"


@pytest.mark.row("B1")
@pytest.mark.parametrize("strikes", [0, 1])
async def test_a_success_is_settled_once(lockout: Lockout, server: Server, strikes: int) -> None:
    who = Someone()
    await lockout.strike(who, strikes)
    attempt_id = await lockout.open_attempt(who)
    settled = await asyncio.gather(*(server.right(who, attempt_id) for _ in range(8)))
    assert sorted(settled) == [False] * 7 + [True]
    await lockout.strike(who)
    assert not await server.right(who, attempt_id), "a late success wipes no newer strike"
    assert await lockout.state(who) == (1, False, 0, 0)


@pytest.mark.row("M3")
@pytest.mark.parametrize("strikes", [0, 1])
async def test_a_success_forgives_the_failures_before_it_however_late_they_are_recorded(
    lockout: Lockout, server: Server, strikes: int
) -> None:
    who = Someone()
    await lockout.strike(who, strikes)
    earlier = await lockout.open_attempt(who)
    right = await lockout.open_attempt(who)
    assert await server.right(who, right, earlier)
    assert await lockout.state(who) == (0, False, 0, 0)
    await lockout.store.record_failure(who.id, earlier)
    assert await lockout.state(who) == (0, False, 0, 0)


@pytest.mark.row("B1")
@pytest.mark.parametrize("strikes", [0, 1])
async def test_a_success_forgives_no_failure_that_it_does_not_name(lockout: Lockout, server: Server, strikes: int) -> None:
    who = Someone()
    await lockout.strike(who, strikes)
    unnamed, right = await lockout.open_attempt(who), await lockout.open_attempt(who)
    assert await server.right(who, right)
    await lockout.store.record_failure(who.id, unnamed)
    assert await lockout.state(who) == (1, False, 0, 0)


@pytest.mark.row("B1")
async def test_a_right_guess_that_meets_a_strike_being_recorded_waits_for_it(lockout: Lockout, server: Server) -> None:
    """Else it finds no strike to clear, and the one that is recorded meanwhile stays beside the success after it."""
    who = Someone()
    earlier, right = await lockout.open_attempt(who), await lockout.open_attempt(who)
    async with lockout.sql.transaction():
        await lockout.store._close_as_wrong(lockout.sql, who.id, earlier, decide_failure, Line())
        settling = asyncio.create_task(server.right(who, right, earlier))
        await until("the settling waits", lambda: lockout.are_waiting_for_locks(1))
    assert await settling
    assert await lockout.state(who) == (0, False, 0, 0)
    assert await lockout.events(who) == ["StrikeRecorded", "StrikesCleared"]


@pytest.mark.row("B1")
async def test_a_refused_success_forgives_nobody(lockout: Lockout, server: Server) -> None:
    who = Someone()
    earlier = await lockout.open_attempt(who)
    assert not await server.right(who, uuid4(), earlier)
    assert await lockout.state(who) == (0, False, 0, 1)


@pytest.mark.row("B1")
async def test_a_success_cannot_forgive_another_subjects_failures(lockout: Lockout, server: Server) -> None:
    one, other = Someone(), Someone()
    theirs = await lockout.open_attempt(other)
    assert await server.right(one, await lockout.open_attempt(one), theirs)
    assert await lockout.state(other) == (0, False, 0, 1)


@pytest.mark.row("M3")
async def test_a_new_password_voids_open_attempts_wipes_strikes_and_lifts_the_block(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.strike(who, 3)
    assert await server.raise_epoch(who, 2) == 2
    assert await lockout.state(who) == (0, False, 2, 0)
    assert (await lockout.events(who))[-2:] == ["EpochRaised", "AccountUnblocked"]
    attempt_id = uuid4()
    assert (await server.admit(who, attempt_id)).admitted.epoch == 2
    assert await server.raise_epoch(who, 3) == 3
    assert await lockout.state(who) == (0, False, 3, 0), "the open attempt is void at once"
    assert not await server.right(who, attempt_id)
    await lockout.store.record_failure(who.id, attempt_id)
    assert await lockout.state(who) == (0, False, 3, 0)


@pytest.mark.row("B1")
async def test_an_epoch_told_again_or_out_of_order_does_nothing(lockout: Lockout, server: Server) -> None:
    who = Someone()
    assert await server.raise_epoch(who, 5) == 5
    await lockout.strike(who, 2)
    attempt_id = await lockout.open_attempt(who)
    for epoch in (5, 4, 1):
        assert await server.raise_epoch(who, epoch) == 5
    assert await lockout.state(who) == (2, False, 5, 1)
    assert (await lockout.events(who)).count("EpochRaised") == 1
    await lockout.store.record_failure(who.id, attempt_id)
    for epoch in (5, 4):
        await server.raise_epoch(who, epoch)
    assert await lockout.state(who) == (3, True, 5, 0), "an old version lifts no block"


async def test_epochs_told_side_by_side_end_at_the_highest(lockout: Lockout, server: Server) -> None:
    who = Someone()
    held = await asyncio.gather(*(server.raise_epoch(who, epoch) for epoch in (3, 9, 1, 7, 9, 2, 8)))
    assert max(held) == 9
    assert await lockout.state(who) == (0, False, 9, 0)


@pytest.mark.row("B1")
@pytest.mark.parametrize("strikes", [0, 2])
async def test_an_attempt_of_an_older_epoch_is_neither_a_success_nor_a_strike(
    lockout: Lockout, server: Server, strikes: int
) -> None:
    who = Someone()
    await server.raise_epoch(who, 2)
    await lockout.strike(who, strikes)
    assert not await server.right(who, await insert_attempt(lockout, who, epoch=1))
    assert (await lockout.state(who))[:3] == (strikes, False, 2)
    await lockout.store.record_failure(who.id, await insert_attempt(lockout, who, epoch=1))
    assert (await lockout.state(who))[:3] == (strikes, False, 2)


@pytest.mark.row("B1")
async def test_an_attempt_whose_outcome_never_came_becomes_a_strike_once(lockout: Lockout, server: Server) -> None:
    who = Someone()
    lost = await lockout.open_attempt(who)
    await lockout.let_pass(61)
    young = await lockout.open_attempt(who)
    assert await lockout.store.sweep(MINUTE) == 1
    assert await lockout.store.sweep(MINUTE) == 0
    assert await lockout.events(who) == ["AttemptAbandoned", "StrikeRecorded"]
    assert await lockout.state(who) == (1, False, 0, 1)
    assert not await server.right(who, lost), "a success that comes after the sweep is refused"
    await lockout.store.record_failure(who.id, lost)
    assert await lockout.state(who) == (1, False, 0, 1)
    assert await server.right(who, young)


@pytest.mark.row("B1")
async def test_attempts_younger_than_the_sweeps_age_are_left_alone(lockout: Lockout) -> None:
    who = Someone()
    await lockout.open_attempt(who)
    await lockout.let_pass(55)
    assert await lockout.store.sweep(MINUTE) == 0
    assert await lockout.state(who) == (0, False, 0, 1)


@pytest.mark.row("B1")
async def test_three_lost_attempts_block(lockout: Lockout) -> None:
    who = Someone()
    for _ in range(3):
        await lockout.open_attempt(who)
    await lockout.let_pass(61)
    assert await lockout.store.sweep(MINUTE) == 3
    assert await lockout.state(who) == (3, True, 0, 0)


@pytest.mark.row("B1")
async def test_while_one_sweeps_no_other_does(lockout: Lockout, lockout_url: str) -> None:
    who = Someone()
    await lockout.open_attempt(who)
    await lockout.let_pass(61)
    other = await asyncpg.connect(lockout_url)
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('zasov lockout sweep'))")
        assert await lockout.store.sweep(MINUTE) == 0
    await other.close()
    counts = await asyncio.gather(*(lockout.store.sweep(MINUTE) for _ in range(5)))
    assert sum(counts) == 1
    assert await lockout.events(who) == ["AttemptAbandoned", "StrikeRecorded"]


@pytest.mark.row("B1")
async def test_a_sweep_and_the_stream_at_once_strike_once(lockout: Lockout) -> None:
    everyone = [Someone() for _ in range(20)]
    attempts = [await lockout.open_attempt(who) for who in everyone]
    await lockout.let_pass(61)
    settled = (lockout.store.record_failure(who.id, one) for who, one in zip(everyone, attempts, strict=True))
    await asyncio.gather(lockout.store.sweep(MINUTE), *settled)
    assert [await lockout.state(who) for who in everyone] == [(1, False, 0, 0)] * 20


@pytest.mark.row("B2")
async def test_what_happens_to_a_stranger_is_never_to_be_published(lockout: Lockout) -> None:
    who = Someone(stranger=True)
    await lockout.strike(who, 2)
    await lockout.open_attempt(who)
    await lockout.let_pass(61)
    await lockout.store.sweep(MINUTE)
    assert await lockout.events(who) == ["StrikeRecorded"] * 2 + ["AttemptAbandoned", "StrikeRecorded", "AccountBlocked"]
    assert await lockout.sql.fetchval("SELECT bool_or(is_public) FROM event") is False
    assert isinstance(await lockout.store.admit(who.key, uuid4(), []), outcome.Blocked), "a stranger blocks alike"


async def test_a_failure_of_somebody_never_admitted_is_nothing(lockout: Lockout) -> None:
    who = Someone()
    await lockout.store.record_failure(who.id, uuid4())
    assert await lockout.state(who) == (0, False, 0, 0)
    assert await lockout.sql.fetchval("SELECT count(*) FROM subject") == 0


async def test_an_attempt_leads_to_its_subject_while_it_is_open(lockout: Lockout) -> None:
    who = Someone(stranger=True)
    attempt_id = await lockout.open_attempt(who)
    assert await lockout.store.subject_of(attempt_id) == who.id
    assert await lockout.store.still_open([attempt_id, uuid4()]) == {attempt_id}
    await lockout.store.give_back(who.id, attempt_id)
    assert await lockout.store.subject_of(attempt_id) is None


async def test_the_status_of_somebody_never_seen_is_zeros(server: Server) -> None:
    status = await server.stub.GetStatus(pb.GetStatusRequest(subject=Someone().message), timeout=5)
    assert status == pb.GetStatusResponse()


async def test_the_status_tells_strikes_open_attempts_and_the_block(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await lockout.strike(who, 2)
    await lockout.open_attempt(who)
    request = pb.GetStatusRequest(subject=who.message)
    assert await server.stub.GetStatus(request, timeout=5) == pb.GetStatusResponse(strikes=2, open_attempts=1)
    await lockout.let_pass(61)
    await lockout.store.sweep(MINUTE)
    assert (await server.stub.GetStatus(request, timeout=5)).HasField("blocked_at")


@pytest.mark.row("B7")
async def test_an_epoch_that_is_held_already_waits_for_nobodys_lock(lockout: Lockout, server: Server) -> None:
    who = Someone()
    await server.raise_epoch(who, 2)
    async with lockout.sql.transaction():
        await lockout.sql.execute("SELECT FROM subject WHERE subject_id = $1 FOR UPDATE", who.id)
        assert await asyncio.wait_for(server.raise_epoch(who, 2), 2) == 2


@pytest.mark.row("B1")
async def test_the_oldest_lost_attempt_is_swept_first(lockout: Lockout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.lockout.store.SWEEP_BATCH", 1)
    oldest, younger = Someone(UUID(int=2**128 - 1)), Someone(UUID(int=1))
    # Neither the first in the table nor the first by its key.
    await lockout.open_attempt(younger)
    await lockout.open_attempt(oldest)
    await lockout.sql.execute(
        "UPDATE attempt SET admitted_at = admitted_at - interval '62 s' WHERE subject_id = $1", younger.id
    )
    await lockout.sql.execute("UPDATE attempt SET admitted_at = admitted_at - interval '72 s' WHERE subject_id = $1", oldest.id)
    assert await lockout.store.sweep(MINUTE) == 1
    assert (await lockout.state(oldest))[0] == 1
    assert (await lockout.state(younger))[0] == 0


@pytest.mark.row("M3")
async def test_a_strangers_block_ends_after_its_time_and_an_accounts_never(lockout: Lockout, server: Server) -> None:
    stranger, account = Someone(stranger=True), Someone()
    for who in (stranger, account):
        await lockout.strike(who, 3)
    assert await lockout.store.forget_strangers(timedelta(hours=1)) == 0, "not yet"
    assert await lockout.state(stranger) == (3, True, 0, 0)
    assert await lockout.store.forget_strangers(timedelta(0)) == 1
    assert await lockout.state(stranger) == (0, False, 0, 0)
    assert await lockout.state(account) == (3, True, 0, 0)
    assert (await lockout.events(stranger))[-1] == "StrangerForgotten"
    assert (await server.admit(stranger, uuid4())).WhichOneof("outcome") == "admitted"
    assert await lockout.store.forget_strangers(timedelta(0)) == 0
