"""The door: three places a subject, whatever the parallelism."""

import asyncio
from uuid import uuid4

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from zasov.lockout.v1 import lockout_service_pb2 as pb
from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceStub

from devstack.waiting import free_port
from services.lockout import roles
from services.lockout import store as outcome
from services.lockout.settings import LockoutSettings
from tests.integration.auth.suite import running
from tests.integration.databases import looks_into
from tests.integration.lockout.conftest import Lockout, Server, ServerMaker, Someone
from tests.integration.waiting import until

_ADMIT = "SELECT outcome, attempts_left FROM admit_attempt($1, $2, $3, $4, $5, '{}', '{}', '{}', false, 3)"


@pytest.mark.row("B1")
@pytest.mark.parametrize("known", [False, True], ids=["never seen", "seen before"])
async def test_two_hundred_at_once_on_one_subject_get_three_places(lockout: Lockout, known: bool) -> None:
    who = Someone()
    if known:
        await lockout.store.raise_epoch(who.key, 1)
    answers = await asyncio.gather(*(lockout.store.admit(who.key, uuid4(), []) for _ in range(200)))
    admitted = [answer for answer in answers if isinstance(answer, outcome.Admitted)]
    assert len(admitted) == 3
    assert sorted(answer.attempts_left for answer in admitted) == [0, 1, 2]
    assert sum(isinstance(answer, outcome.Full) for answer in answers) == 197
    assert await lockout.state(who) == (0, False, int(known), 3)


@pytest.mark.row("B1")
@pytest.mark.parametrize("known", [False, True], ids=["never seen", "seen before"])
async def test_who_is_admitted_beside_another_waits_and_holds_the_subject_while_the_places_are_counted(
    lockout: Lockout, lockout_url: str, known: bool
) -> None:
    who = Someone()
    if known:
        await lockout.store.raise_epoch(who.key, 1)
    first, second = await asyncpg.connect(lockout_url), await asyncpg.connect(lockout_url)
    try:
        await first.execute("BEGIN")
        assert tuple(await first.fetchrow(_ADMIT, *who.columns, uuid4())) == ("admitted", 2)
        await second.execute("BEGIN")
        waiting = asyncio.create_task(second.fetchrow(_ADMIT, *who.columns, uuid4()))
        await until("the second waits for the first", lambda: lockout.are_waiting_for_locks(1))
        await first.execute("COMMIT")
        assert tuple(await waiting) == ("admitted", 1)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await lockout.sql.fetch("SELECT FROM subject WHERE subject_id = $1 FOR NO KEY UPDATE NOWAIT", who.id)
    finally:
        await first.close()
        await second.close()


async def test_somebody_met_for_the_first_time_is_admitted_by_the_same_work(lockout: Lockout) -> None:
    """Known numbers have been met when they were registered."""
    who = Someone()
    first, again = [await looks_into("subject", lockout.sql, _ADMIT, *who.columns, uuid4()) for _ in range(2)]
    assert first == again


@pytest.mark.row("B1")
async def test_two_hundred_calls_to_two_replicas_get_three_places_and_the_rest_is_told_to_come_again(
    lockout: Lockout, new_server: ServerMaker
) -> None:
    who = Someone()
    async with new_server(admission_wait_s=0.3) as one, new_server(admission_wait_s=0.3) as other:
        calls = [replica.admit(who, uuid4()) for _ in range(100) for replica in (one, other)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    admitted = [answer for answer in answers if isinstance(answer, pb.AdmitAttemptResponse)]
    assert [answer.WhichOneof("outcome") for answer in admitted] == ["admitted"] * 3
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert await lockout.state(who) == (0, False, 0, 3)


@pytest.mark.row("B1")
@pytest.mark.parametrize("strikes", [1, 2])
async def test_strikes_take_places_too(lockout: Lockout, strikes: int) -> None:
    who = Someone()
    await lockout.strike(who, strikes)
    answers = [await lockout.store.admit(who.key, uuid4(), []) for _ in range(4)]
    lefts = [answer.attempts_left for answer in answers if isinstance(answer, outcome.Admitted)]
    assert lefts == list(range(3 - strikes))[::-1]


@pytest.mark.row("B1")
async def test_strikes_and_settling_at_random_never_let_a_fourth_wrong_guess_in(lockout: Lockout) -> None:
    who, wrong = Someone(), 0

    async def guess() -> None:
        nonlocal wrong
        attempt_id = uuid4()
        if isinstance(await lockout.store.admit(who.key, attempt_id, []), outcome.Admitted):
            wrong += 1
            await lockout.store.record_failure(who.id, attempt_id)

    await asyncio.gather(*(guess() for _ in range(100)))
    await asyncio.gather(*(guess() for _ in range(20)))
    assert wrong == 3
    assert await lockout.state(who) == (3, True, 0, 0)


@pytest.mark.row("M3")
async def test_sixty_right_sign_ins_at_once_all_get_in_three_at_a_time(lockout: Lockout, new_server: ServerMaker) -> None:
    who = Someone()

    async def sign_in(server: Server) -> bool:
        attempt_id = uuid4()
        answer = await server.admit(who, attempt_id)
        assert answer.WhichOneof("outcome") == "admitted"
        return await server.right(who, attempt_id)

    async with new_server(admission_wait_s=8) as one, new_server(admission_wait_s=8) as other:
        settled = await asyncio.gather(*(sign_in(server) for _ in range(30) for server in (one, other)))
    assert settled == [True] * 60
    assert await lockout.state(who) == (0, False, 0, 0)


async def test_who_waits_gets_the_next_place_that_is_freed(lockout: Lockout, server: Server) -> None:
    who = Someone()
    held = [await lockout.open_attempt(who) for _ in range(3)]
    waiting = asyncio.ensure_future(server.admit(who, uuid4()))
    assert await server.give_back(who, held[0])
    assert (await waiting).admitted.attempts_left == 0


@pytest.mark.row("B7")
async def test_a_place_freed_by_the_stream_is_found_without_being_told(lockout: Lockout, server: Server) -> None:
    who = Someone()
    held = [await lockout.open_attempt(who) for _ in range(3)]
    waiting = asyncio.ensure_future(server.admit(who, uuid4()))
    assert await lockout.store.settle_right(who.key, held[0], held[1:])
    assert (await waiting).admitted.attempts_left == 2


@pytest.mark.row("M3")
async def test_a_wait_that_ends_with_the_third_strike_is_told_of_the_block(lockout: Lockout, server: Server) -> None:
    who = Someone()
    held = [await lockout.open_attempt(who) for _ in range(3)]
    waiting = asyncio.ensure_future(server.admit(who, uuid4()))
    for attempt_id in held:
        await lockout.store.record_failure(who.id, attempt_id)
    blocked_at = await lockout.sql.fetchval("SELECT blocked_at FROM subject WHERE subject_id = $1", who.id)
    assert (await waiting).blocked.blocked_at.ToDatetime(tzinfo=blocked_at.tzinfo) == blocked_at


@pytest.mark.row("M21")
async def test_a_wait_that_ends_full_is_try_again_later_and_not_a_block(lockout: Lockout, new_server: ServerMaker) -> None:
    who = Someone()
    for _ in range(3):
        await lockout.open_attempt(who)
    async with new_server(admission_wait_s=0.1) as server:
        with pytest.raises(grpc.aio.AioRpcError) as met:
            await server.admit(who, uuid4())
    status = rpc_status.from_call(met.value)  # type: ignore[arg-type]
    assert met.value.code() is grpc.StatusCode.UNAVAILABLE
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
    assert await lockout.state(who) == (0, False, 0, 3)
    assert await lockout.events(who) == []


@pytest.mark.row("B1")
async def test_who_hangs_up_while_being_admitted_leaves_no_open_attempt(
    lockout: Lockout, server: Server, lockout_url: str
) -> None:
    who = Someone()
    await lockout.store.raise_epoch(who.key, 1)
    holder = await asyncpg.connect(lockout_url)
    async with holder.transaction():
        await holder.execute("SELECT FROM subject WHERE subject_id = $1 FOR UPDATE", who.id)
        call = server.admit(who, uuid4())
        waiting = asyncio.ensure_future(call)
        await until("the admission waits for the row", lambda: admitting(lockout, True))
        call.cancel()
        await asyncio.wait({waiting})
    # Committed, too: before that no place would be seen to be taken, given back or not.
    await until("the admission has gone through", lambda: admitting(lockout, False))

    async def nothing_open() -> bool:
        return await lockout.state(who) == (0, False, 1, 0)

    await until("the place is given back", nothing_open, 5)
    await holder.close()


async def admitting(lockout: Lockout, wanted: bool) -> bool:
    """Whether an admission waits for a lock; not wanted: whether none is under way any more."""
    found = await lockout.sql.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND query LIKE '%admit_attempt%' AND pid <> pg_backend_pid() AND (wait_event_type = 'Lock' OR NOT $1))",
        wanted,
    )
    return bool(found == wanted)


@pytest.mark.row("B1")
async def test_who_hangs_up_while_waiting_in_line_takes_no_place_later(lockout: Lockout, server: Server) -> None:
    who = Someone()
    held = [await lockout.open_attempt(who) for _ in range(3)]
    calls = [server.admit(who, uuid4()) for _ in range(5)]
    waiting = [asyncio.ensure_future(call) for call in calls]
    for call in calls:
        call.cancel()
    await asyncio.wait(waiting)
    assert await server.give_back(who, held[0])
    answer = await server.admit(who, uuid4())
    assert answer.admitted.attempts_left == 0
    assert await lockout.state(who) == (0, False, 0, 3)


@pytest.mark.row("B1")
async def test_one_attempt_id_never_takes_two_places(lockout: Lockout, server: Server) -> None:
    who, attempt_id = Someone(), uuid4()
    await server.admit(who, attempt_id)
    with pytest.raises(grpc.aio.AioRpcError):
        await server.admit(who, attempt_id)
    assert await lockout.state(who) == (0, False, 0, 1)


async def test_one_subjects_crowd_holds_up_nobody_else(lockout: Lockout, server: Server) -> None:
    crowded, other = Someone(), Someone()
    for _ in range(3):
        await lockout.open_attempt(crowded)
    waiting = [asyncio.ensure_future(server.admit(crowded, uuid4())) for _ in range(50)]
    assert (await server.admit(other, uuid4(), timeout=1)).WhichOneof("outcome") == "admitted"
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.row("B1")
async def test_a_server_says_that_an_outcome_is_good_for_half_the_sweeps_age(lockout_url: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = LockoutSettings(postgres_url=lockout_url, listen=address, sweep_age_s=20)
    async with running(roles.server, settings), grpc.aio.insecure_channel(address) as channel:
        admitted = (await Server(LockoutServiceStub(channel)).admit(Someone(), uuid4())).admitted
    assert admitted.outcome_within_ms == 10_000


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.AdmitAttemptRequest(subject=pb.Subject(owner_id="x", credential=1), attempt_id=str(uuid4())), "subject.owner_id"),
        (pb.AdmitAttemptRequest(subject=Someone().message, attempt_id="x"), "attempt_id"),
        (pb.AdmitAttemptRequest(attempt_id=str(uuid4())), "subject.credential"),
        (
            pb.AdmitAttemptRequest(subject=pb.Subject(owner_id=str(uuid4()), credential=99), attempt_id=str(uuid4())),
            "subject.credential",
        ),  # type: ignore[arg-type]
    ],
)
async def test_a_request_that_names_nobody_is_told_which_field(
    server: Server, request_: pb.AdmitAttemptRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as met:
        await server.stub.AdmitAttempt(request_, timeout=5)
    status = rpc_status.from_call(met.value)  # type: ignore[arg-type]
    assert met.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert status is not None
    assert field in str(status)
