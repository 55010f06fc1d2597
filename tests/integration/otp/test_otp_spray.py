"""A spray at many subjects: codes grow for the whole system, and the short ones that were opened before are worth nothing."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from zasov.events.v1.otp_event_pb2 import OtpEvent
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from bench.guessing import Otp, beforehand
from services.chassis.postgres import connect_directly, open_database
from services.otp import store
from services.otp.brake import BrakeRules
from services.otp.domain import BUDGET_WINDOW

RIGHT, WRONG = otp_pb.VERIFY_OUTCOME_RIGHT, otp_pb.VERIFY_OUTCOME_WRONG
DEAD, VOIDED = otp_pb.VERIFY_OUTCOME_DEAD, otp_pb.VERIFY_OUTCOME_VOIDED
Opened = tuple[Any, UUID, UUID]  # the answer, whose, of which flow

pytestmark = pytest.mark.row("B4")


async def opened(otp: Any, count: int) -> list[Opened]:
    result = []
    for _ in range(count):
        subject, flow = uuid4(), uuid4()
        result.append((await otp.issue(subject, flow), subject, flow))
    return result


async def guess(otp: Any, one: Opened) -> Any:
    """A wrong one, without a look at the right one: claiming would cost more than the guess. None is ever right here."""
    issued, subject, flow = one
    code = await otp.sql.fetchval("SELECT repeat('7', digits) FROM challenge WHERE id = $1", UUID(issued.challenge_id))
    await otp.sql.execute("UPDATE challenge SET code_mac = $2 WHERE id = $1", UUID(issued.challenge_id), bytes(32))
    return await otp.verify(issued, subject, flow, code)


async def lengthened(otp: Any) -> list[Any]:
    rows = await otp.sql.fetch("SELECT data, is_public FROM event WHERE type = 'CodesLengthened' ORDER BY event_id")
    assert all(row["is_public"] for row in rows)
    return [OtpEvent.FromString(row["data"]) for row in rows]


async def test_wrong_checks_at_many_subjects_lengthen_the_code_of_somebody_else(start: Any) -> None:
    otp = await start(spray_longer_after_wrong=5, spray_longest_after_wrong=8)
    sprayed = await opened(otp, 8)
    outcomes = [(await guess(otp, one)).outcome for one in sprayed]
    assert outcomes == [WRONG] * 5 + [VOIDED] * 3
    ((six, subject, flow),) = await opened(otp, 1)
    assert six.digits == 6
    assert [(await guess(otp, (six, subject, flow))).outcome for _ in range(3)] == [WRONG] * 3
    ((eight, subject, flow),) = await opened(otp, 1)
    assert eight.digits == 8
    assert (await guess(otp, (eight, subject, flow))).outcome == WRONG


async def test_codes_opened_beforehand_and_then_guessed_three_times_each_gain_nothing(start: Any) -> None:
    otp = await start(spray_longer_after_issued=20, spray_longest_after_issued=40)
    sprayed = await opened(otp, 60)
    assert Counter(issued.digits for issued, _, _ in sprayed) == {4: 20, 6: 20, 8: 20}
    outcomes = Counter([(one[0].digits, (await guess(otp, one)).outcome) for one in sprayed * 3])
    assert outcomes == {(4, VOIDED): 60, (6, VOIDED): 60, (8, WRONG): 60}


@pytest.mark.parametrize(
    "brake",
    [
        {"spray_longer_after_issued": 20, "spray_longest_after_issued": 40},
        {"spray_longer_after_wrong": 25, "spray_longest_after_wrong": 60},
        {"spray_longer_after_wrong": 25, "spray_longest_after_wrong": 30, "spray_longer_after_issued": 35},
    ],
)
async def test_an_attack_that_is_played_in_memory_makes_the_checks_that_a_real_one_makes(
    start: Any, brake: dict[str, int]
) -> None:
    otp = await start(**brake)
    played = Otp(otp.settings.rules(), otp.settings.brake())
    beforehand(played, 45)
    sprayed = await opened(otp, 45)
    checked, voided = Counter[int](), Counter[int]()
    for one in sprayed:
        while (outcome := (await guess(otp, one)).outcome) == WRONG:
            checked[one[0].digits] += 1
        voided[one[0].digits] += outcome == VOIDED
    assert Counter(issued.digits for issued, _, _ in sprayed) == played.issued
    assert checked == played.checked
    assert voided == played.voided


async def test_guesses_at_many_subjects_at_once_pass_the_limit_by_no_more_than_the_connections(start: Any) -> None:
    limit = 10
    otp = await start(spray_longer_after_wrong=limit)
    sprayed = await opened(otp, 60)
    await otp.sql.execute("UPDATE challenge SET code_mac = $1", bytes(32))
    answers = await asyncio.gather(*(otp.verify(*one, "7777") for one in sprayed * 3))
    outcomes = Counter(answer.outcome for answer in answers)
    assert set(outcomes) == {WRONG, VOIDED}
    assert limit <= outcomes[WRONG] < limit + otp.settings.postgres_pool_size


async def test_whose_code_was_voided_is_told_so_keeps_the_tries_and_gets_a_longer_one(start: Any) -> None:
    otp = await start(spray_longer_after_wrong=3)
    ((issued, subject, flow),) = await opened(otp, 1)
    code = await otp.code_of(issued)
    for one in await opened(otp, 3):
        await guess(otp, one)
    assert (await otp.verify(issued, subject, flow, code)).outcome == VOIDED
    assert (await otp.verify(issued, subject, uuid4(), code)).outcome == DEAD, "of another flow it says nothing"
    assert await otp.wrong_checks(subject) == 0
    await otp.pass_cool_down(subject)
    longer = await otp.issue(subject, flow)
    assert longer.digits == 6
    assert (await otp.verify(longer, subject, flow, await otp.code_of(longer))).outcome == RIGHT


async def test_a_subjects_own_wrong_checks_void_its_short_codes_with_the_same_answer(start: Any, subject: UUID) -> None:
    otp = await start(cool_down_s=0)
    flows = [uuid4() for _ in range(4)]
    codes = [(await otp.issue(subject, flow), subject, flow) for flow in flows]
    outcomes = [(await guess(otp, one)).outcome for one in codes for _ in range(3)]
    assert outcomes == [WRONG] * 9 + [VOIDED] * 3


async def test_a_trip_is_told_once_and_holds_when_the_counts_are_gone(start: Any) -> None:
    otp = await start(spray_longer_after_wrong=3)
    ((short, subject, flow),) = await opened(otp, 1)
    for one in await opened(otp, 6):
        await guess(otp, one)
    (event,) = await lengthened(otp)
    assert event.codes_lengthened.digits == 6
    held = event.codes_lengthened.until.ToDatetime() - event.meta.occurred_at.ToDatetime()
    assert held.total_seconds() == otp.settings.spray_hold_s
    await otp.sql.execute("TRUNCATE spray_count")
    assert (await guess(otp, (short, subject, flow))).outcome == VOIDED
    ((still, _, _),) = await opened(otp, 1)
    assert still.digits == 6
    await otp.sql.execute("UPDATE brake SET until = clock_timestamp()")
    ((after, _, _),) = await opened(otp, 1)
    assert after.digits == 4


async def test_a_trip_that_goes_on_is_told_again_in_the_same_stream(start: Any) -> None:
    otp = await start(spray_longer_after_issued=2)
    await opened(otp, 3)
    await otp.sql.execute("UPDATE brake SET until = clock_timestamp()")
    await opened(otp, 2)
    first, second = await lengthened(otp)
    assert first.meta.stream_id == second.meta.stream_id
    assert (first.meta.version, second.meta.version) == (1, 2)


async def test_a_trip_that_many_notice_at_once_is_told_once(start: Any) -> None:
    otp = await start(spray_longer_after_issued=1)
    async with open_database(otp.settings) as database:
        noticing = store.Store(database, otp.settings.brake())
        held = await asyncio.gather(*(noticing.trip(6) for _ in range(8)))
    assert len([until for until in held if until is not None]) == 1
    assert len(await lengthened(otp)) == 1


async def test_right_codes_trip_nothing(start: Any) -> None:
    otp = await start(spray_longer_after_wrong=3)
    for one in await opened(otp, 6):
        issued, subject, flow = one
        assert (await otp.verify(issued, subject, flow, await otp.code_of(issued))).outcome == RIGHT
    assert await otp.sql.fetchval("SELECT sum(count) FROM spray_count WHERE kind = 1") == 0


@pytest.mark.row("B2")
async def test_somebody_unknown_counts_as_somebody_known_does(start: Any) -> None:
    otp = await start(spray_longer_after_issued=4, spray_longer_after_wrong=4)
    decoys = [(await otp.issue(subject, flow, decoy=True), subject, flow) for subject, flow in _pairs(4)]
    assert (await otp.issue(uuid4(), uuid4(), decoy=True)).digits == 6
    assert (await otp.issue(uuid4(), uuid4())).digits == 6
    assert (await guess(otp, decoys[0])).outcome == VOIDED


async def test_a_refused_request_counts_for_nothing(start: Any, subject: UUID) -> None:
    otp = await start(spray_longer_after_issued=2)
    await otp.issue(subject, uuid4())
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await otp.issue(subject, uuid4())
    assert (await otp.issue(uuid4(), uuid4())).digits == 4


async def test_what_is_asked_for_lengthens_a_code_and_shortens_none(otp: Any, subject: UUID) -> None:
    assert (await otp.issue(uuid4(), uuid4(), least_digits=6)).digits == 6
    await otp.spend(subject, 9)
    assert (await otp.issue(subject, uuid4(), least_digits=4)).digits == 8
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.issue(subject, uuid4(), least_digits=5)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_check_does_not_wait_for_one_of_another_subject(otp: Any) -> None:
    """One row for the whole system would put all checks in line behind each other's commits."""
    mine, other = _subject_ending(1), _subject_ending(2)
    flow = uuid4()
    issued = [(await otp.issue(subject, flow), subject, flow) for subject in (mine, other)]
    for one in issued:
        await guess(otp, one)
    async with otp.sql.transaction():
        await otp.sql.execute("SELECT FROM spray_count WHERE shard = 1 FOR UPDATE")
        waiting = asyncio.create_task(otp.verify(*issued[0], "7777"))
        await otp.until_waiting_for_locks(1)
        assert (await otp.verify(*issued[1], "7777")).outcome == WRONG
        assert not waiting.done()
    assert (await waiting).outcome == WRONG


async def test_counts_out_of_every_window_are_removed(otp: Any) -> None:
    await guess(otp, (await opened(otp, 1))[0])
    await otp.sql.execute("INSERT INTO spray_count SELECT kind, bucket - interval '3 days', shard, 5 FROM spray_count")
    connection = await connect_directly(otp.settings)
    try:
        await store.forget_sprays(connection, otp.settings.brake().issued_window)
    finally:
        await connection.close()
    assert await otp.sql.fetchval("SELECT array_agg(count ORDER BY kind) FROM spray_count") == [1, 1]


async def test_the_database_decides_as_the_rules_say(otp: Any) -> None:
    rules = BrakeRules((3, 7), otp.settings.brake().issued_window, (5, 9), BUDGET_WINDOW)
    for wrong in range(9):
        for issued in range(11):
            async with _RolledBack(otp.sql):
                for kind, count, window in ((1, wrong, BUDGET_WINDOW), (2, issued, rules.issued_window)):
                    await otp.sql.execute(
                        "SELECT count_spray($1, gen_random_uuid(), clock_timestamp(), $2, 1) FROM generate_series(1, $3)",
                        kind,
                        window,
                        count,
                    )
                counted = await otp.sql.fetchval(
                    "SELECT counted FROM spray_digits($1, $2, $3, $4)",
                    BUDGET_WINDOW,
                    rules.wrong_from,
                    rules.issued_window,
                    rules.issued_from,
                )
            assert counted == rules.digits_after(wrong, issued), (wrong, issued)


async def test_nothing_counted_within_the_window_is_forgotten(otp: Any) -> None:
    rules = otp.settings.brake()
    async with _RolledBack(otp.sql):
        await otp.sql.execute(
            "SELECT count_spray(1::smallint, gen_random_uuid(), clock_timestamp() - $1::interval, $1, 1)", BUDGET_WINDOW
        )
        assert await otp.sql.fetchval(
            "SELECT counted FROM spray_digits($1, '{1,2}', $2, '{1,2}')", BUDGET_WINDOW, rules.issued_window
        ) == 6  # fmt: skip


class _RolledBack:
    """A transaction that leaves nothing."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


def _pairs(count: int) -> list[tuple[UUID, UUID]]:
    return [(uuid4(), uuid4()) for _ in range(count)]


def _subject_ending(byte: int) -> UUID:
    return UUID(bytes=uuid4().bytes[:15] + bytes([byte]))
