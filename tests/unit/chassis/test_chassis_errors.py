"""An error that one service raises is the error that the other one meets."""

from datetime import timedelta

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.chassis import errors
from services.chassis.errors import ServiceError
from services.chassis.rpc_clients import call
from tests.unit.chassis.conftest import Peer

KEPT = [
    ServiceError(grpc.StatusCode.FAILED_PRECONDITION, "SIGN_IN_BLOCKED", "Blocked.", {"ways": "sms"}),
    errors.overloaded(timedelta(seconds=1.25)),
    errors.unavailable(timedelta(milliseconds=20)),
    errors.invalid({"subject.owner_id": "must be a UUID", "epoch": "must be at least 1"}),
    ServiceError(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_REJECTED", "Заблокировано.", {"attempts_left": "2"}),
    errors.bug(),
]


@pytest.mark.parametrize("error", KEPT, ids=lambda error: str(error))
async def test_an_error_crosses_the_wire_as_it_was_raised(peer: Peer, error: ServiceError) -> None:
    async def fail() -> None:
        raise error

    peer.servicer.body = fail
    with pytest.raises(ServiceError) as met:
        await call(peer.stub.GetStatus, pb.GetStatusRequest(), at_most_s=5)
    assert met.value == error


@pytest.mark.row("M21")
async def test_a_peer_that_is_away_is_temporarily_unavailable() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        method = channel.unary_unary("/x/y", request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(ServiceError) as met:
            await call(method, b"", at_most_s=2)  # type: ignore[arg-type]
    assert (met.value.code, met.value.reason) == (grpc.StatusCode.UNAVAILABLE, errors.TEMPORARILY_UNAVAILABLE)
    assert met.value.retry_after is not None


@pytest.mark.row("M21")
async def test_too_little_time_left_for_a_further_call_is_not_told_as_the_caller_s_own_short_deadline(peer: Peer) -> None:
    async def fail() -> None:
        raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, errors.DEADLINE_TOO_SHORT, "Less than 100 ms are left.")

    peer.servicer.body = fail
    with pytest.raises(ServiceError) as met:
        await call(peer.stub.GetStatus, pb.GetStatusRequest(), at_most_s=5)
    assert met.value == errors.unavailable()


async def test_a_method_that_the_peer_does_not_have_is_a_bug_between_us(peer: Peer) -> None:
    with pytest.raises(ServiceError) as met:
        await call(peer.stub.RaiseEpoch, pb.RaiseEpochRequest(), at_most_s=2)
    assert met.value.code is grpc.StatusCode.INTERNAL


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), st.timedeltas(timedelta(0), timedelta(days=9)))
def test_violations_and_times_stand_in_the_details(violations: dict[str, str], retry: timedelta) -> None:
    error = ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "R", "m", retry_after=retry, violations=violations)
    status = errors.to_status(error)
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.details == "m"


def test_an_errors_own_text_names_no_data() -> None:
    assert str(KEPT[0]) == "FAILED_PRECONDITION SIGN_IN_BLOCKED"
