"""The policy around every call."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import REGISTRY
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.chassis import errors
from services.chassis.interceptors import limit_calls, remaining_s, unknown_field
from tests.unit.chassis.conftest import Peer

CANARY = "canary-51cd"
STATUS = "/zasov.lockout.v1.LockoutService/GetStatus"


def raw(peer: Peer) -> Any:
    return peer.channel.unary_unary(STATUS, request_serializer=bytes, response_deserializer=pb.GetStatusResponse.FromString)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return errors.from_rpc_error(error).reason


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as met:
        await call
    return met.value


async def test_a_call_without_a_deadline_is_refused_before_any_work(peer: Peer) -> None:
    error = await refused(peer.stub.GetStatus(pb.GetStatusRequest()))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, errors.DEADLINE_REQUIRED)
    assert peer.servicer.calls == 0


@pytest.mark.row("M21")
async def test_what_is_refused_at_the_door_is_refused_with_its_details_and_counted_and_then_let_in(peer: Peer) -> None:
    refusing = True

    def refuse() -> None:
        if refusing:
            raise errors.overloaded(timedelta(seconds=2.5))

    peer.door[STATUS] = refuse
    counted = {"method": "GetStatus", "code": "RESOURCE_EXHAUSTED"}
    before = REGISTRY.get_sample_value("zasov_rpc_seconds_count", counted) or 0
    error = await refused(raw(peer)(b"not even a message", timeout=5))
    assert errors.from_rpc_error(error) == errors.overloaded(timedelta(seconds=2.5))
    assert (REGISTRY.get_sample_value("zasov_rpc_seconds_count", counted), peer.servicer.calls) == (before + 1, 0)
    refusing = False
    await peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
    assert peer.servicer.calls == 1


async def test_a_deadline_in_days_is_none(peer: Peer) -> None:
    error = await refused(peer.stub.GetStatus(pb.GetStatusRequest(), timeout=48 * 3600))
    assert reason_of(error) == errors.DEADLINE_REQUIRED
    assert peer.servicer.calls == 0


async def test_a_call_with_too_little_time_left_is_refused_before_any_work(peer: Peer) -> None:
    await peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
    error = await refused(peer.stub.GetStatus(pb.GetStatusRequest(), timeout=0.08))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert peer.servicer.calls == 1


async def test_what_is_passed_on_is_a_little_less_than_what_is_left(peer: Peer) -> None:
    seen: list[float] = []

    async def note() -> None:
        seen.append(remaining_s(at_most=60))
        seen.append(remaining_s(at_most=0.5))

    peer.servicer.body = note
    await peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
    assert 4 < seen[0] < 5  # on the wire a deadline is rounded up by some milliseconds
    assert seen[1] == 0.5
    assert remaining_s(at_most=60) == 60, "outside of a call nobody waits"


def with_unknown(message: bytes) -> bytes:
    return message + bytes([15 << 3 | 0, 1])  # field 15, varint 1


async def test_an_unknown_field_is_refused_at_the_top(peer: Peer) -> None:
    error = await refused(raw(peer)(with_unknown(b""), timeout=5))
    assert errors.from_rpc_error(error) == errors.invalid({"#15": "unknown field"})


async def test_an_unknown_field_is_refused_within_a_message(peer: Peer) -> None:
    subject = with_unknown(pb.Subject(credential=CREDENTIAL_PASSWORD).SerializeToString())
    error = await refused(raw(peer)(bytes([1 << 3 | 2, len(subject)]) + subject, timeout=5))
    assert errors.from_rpc_error(error) == errors.invalid({"subject.#15": "unknown field"})
    assert peer.servicer.calls == 0


def test_an_unknown_field_is_found_in_repeated_messages_and_in_maps() -> None:
    info = error_details_pb2.ErrorInfo(metadata={"a": "b"})
    assert unknown_field(info) is None
    bad = error_details_pb2.BadRequest(field_violations=[error_details_pb2.BadRequest.FieldViolation(field="x")])
    assert unknown_field(bad) is None
    bad.field_violations.append(error_details_pb2.BadRequest.FieldViolation.FromString(bytes([90 % 16 << 3 | 0, 1])))
    assert unknown_field(bad) == "field_violations.#10"


@pytest.mark.row("B2")
async def test_an_exceptions_text_reaches_neither_the_client_nor_the_log(peer: Peer, capfd: pytest.CaptureFixture[str]) -> None:
    async def die() -> None:
        raise LookupError(CANARY)

    peer.servicer.body = die
    error = await refused(peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "Internal error.")
    assert CANARY not in str(error.trailing_metadata()) + str(error.debug_error_string())
    said = "".join(capfd.readouterr())
    assert "LookupError" in said
    assert CANARY not in said


@pytest.mark.row("M21")
@pytest.mark.parametrize(
    "away",
    [
        OSError(CANARY),
        TimeoutError(CANARY),
        asyncpg.PostgresConnectionError(CANARY),
        asyncpg.CannotConnectNowError(CANARY),
        asyncpg.AdminShutdownError(CANARY),
        asyncpg.TooManyConnectionsError(CANARY),
        asyncpg.InterfaceError(CANARY),
        asyncpg.DeadlockDetectedError(CANARY),
        asyncpg.SerializationError(CANARY),
        asyncpg.LockNotAvailableError(CANARY),
        asyncpg.QueryCanceledError(CANARY),
        asyncpg.ReadOnlySQLTransactionError(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_is_away_is_try_again_later(
    peer: Peer, away: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    async def die() -> None:
        raise away

    peer.servicer.body = die
    error = await refused(peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5))
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
    assert CANARY not in str(status) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "bug",
    [asyncpg.UniqueViolationError(CANARY), asyncpg.DataError(CANARY), asyncpg.NumericValueOutOfRangeError(CANARY)],
    ids=lambda error: type(error).__name__,
)
async def test_a_bug_in_our_sql_is_neither_an_outage_nor_the_callers_fault(
    peer: Peer, bug: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    async def die() -> None:
        raise bug

    peer.servicer.body = die
    error = await refused(peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5))
    assert errors.from_rpc_error(error) == errors.bug()
    assert error.code() is grpc.StatusCode.INTERNAL
    assert CANARY not in "".join(capfd.readouterr())


async def test_a_caller_who_hangs_up_cancels_the_work(peer: Peer) -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    peer.servicer.body = hang
    call = peer.stub.GetStatus(pb.GetStatusRequest(), timeout=30)
    waiting = asyncio.ensure_future(call)
    await started.wait()
    call.cancel()
    await asyncio.wait_for(cancelled.wait(), 5)
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.row("M21")
async def test_calls_over_the_limit_are_told_when_to_come_again_and_later_ones_get_in() -> None:
    """Of all methods together, and whatever becomes of those that got in."""
    going_on = asyncio.Event()

    async def answer(request: str, _: Any) -> str:
        if request == "too many":
            raise AssertionError("it got in")
        await going_on.wait()
        if request == "fails":
            raise ValueError
        return request

    limit, context = limit_calls(2), cast("Any", None)
    one, another = limit("/one", answer), limit("/another", answer)
    under_way = [asyncio.ensure_future(method("fails", context)) for method in (one, another)]
    await asyncio.sleep(0)
    for method in (one, another):
        with pytest.raises(errors.ServiceError) as met:
            await method("too many", context)
        assert (met.value.reason, met.value.retry_after) == (errors.OVERLOADED, errors.DEFAULT_RETRY)
    going_on.set()
    assert [type(one) for one in await asyncio.gather(*under_way, return_exceptions=True)] == [ValueError] * 2
    assert await asyncio.gather(one("a", context), another("b", context)) == ["a", "b"]
