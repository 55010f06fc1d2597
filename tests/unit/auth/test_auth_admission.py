"""Lockout over gRPC, as auth calls it: what is done when an answer is lost."""

from typing import Any
from uuid import uuid4

import grpc
import pytest
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Origin
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.auth.passwords.admission import Guarded, LockoutClient, SignInBlocked
from services.chassis.errors import ServiceError

pytestmark = pytest.mark.row("B1")
GUARDED = Guarded(uuid4(), CREDENTIAL_PASSWORD, stranger=False)


class Stub:
    """Answers AdmitAttempt as told, or loses the answer; notes what is settled, and loses the first `lost` answers to it."""

    def __init__(self, answer: pb.AdmitAttemptResponse | None, lost: int = 0) -> None:
        self._answer = answer
        self._lost = lost
        self.admitted: list[pb.AdmitAttemptRequest] = []
        self.settled: list[pb.SettleAttemptRequest] = []

    async def AdmitAttempt(self, request: pb.AdmitAttemptRequest, **_: Any) -> pb.AdmitAttemptResponse:
        self.admitted.append(request)
        if self._answer is None:
            raise away()
        return self._answer

    async def SettleAttempt(self, request: pb.SettleAttemptRequest, **_: Any) -> pb.SettleAttemptResponse:
        self.settled.append(request)
        if len(self.settled) <= self._lost:
            raise away()
        return pb.SettleAttemptResponse(settled=True)


def away() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


def lockout(stub: Stub) -> LockoutClient:
    return LockoutClient(stub, timeout_s=1.0, admit_timeout_s=1.0)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.auth.passwords.admission._SETTLE_PAUSES_S", (0.0, 0.0))


@pytest.mark.parametrize("lost", [0, 3])
async def test_a_place_that_may_have_been_taken_is_given_back_when_the_answer_is_lost(lost: int) -> None:
    stub = Stub(None, lost)
    with pytest.raises(ServiceError) as caught:
        await lockout(stub).admit(GUARDED, Origin())
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    told = [(one.attempt_id, one.WhichOneof("outcome")) for one in stub.settled]
    assert told == [(stub.admitted[0].attempt_id, "not_evaluated")] * (3 if lost else 1), "tried again where it failed"


async def test_a_right_guess_whose_settling_was_not_answered_is_settled_again() -> None:
    """Else one lost answer keeps the owner out, and his right password becomes a strike a minute later."""
    stub, attempt, earlier = Stub(None, lost=2), uuid4(), uuid4()
    assert await lockout(stub).settle_right(GUARDED, attempt, [earlier])
    right = pb.Right(earlier_failed_attempt_ids=[str(earlier)])
    assert stub.settled == [pb.SettleAttemptRequest(subject=GUARDED.to_proto(), attempt_id=str(attempt), right=right)] * 3


async def test_a_right_guess_that_cannot_be_settled_is_not_taken_for_settled() -> None:
    stub = Stub(None, lost=3)
    with pytest.raises(ServiceError) as caught:
        await lockout(stub).settle_right(GUARDED, uuid4(), [])
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    assert len(stub.settled) == 3


async def test_an_attempt_is_due_counting_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1029.9, 1030.0])
    monkeypatch.setattr("services.auth.passwords.admission.boottime", lambda: next(clock))
    answer = pb.AdmitAttemptResponse(admitted=pb.Admitted(epoch=3, attempts_left=1, outcome_within_ms=30_000))
    admission = await lockout(Stub(answer)).admit(GUARDED, Origin())
    assert (admission.epoch, admission.attempts_left) == (3, 1)
    assert admission.in_time()
    assert not admission.in_time()


async def test_an_answer_that_is_not_understood_admits_nobody() -> None:
    with pytest.raises(SignInBlocked):
        await lockout(Stub(pb.AdmitAttemptResponse())).admit(GUARDED, Origin())
