"""Lockout over gRPC, as auth calls it: what is done when an answer is lost."""

from typing import Any
from uuid import uuid4

import grpc
import pytest
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Origin
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.auth.admission import Guarded, LockoutClient, SignInBlocked
from services.chassis.errors import ServiceError

pytestmark = pytest.mark.row("B1")
GUARDED = Guarded(uuid4(), CREDENTIAL_PASSWORD, stranger=False)


class Stub:
    """Answers AdmitAttempt as told, or loses the answer; notes what is settled."""

    def __init__(self, answer: pb.AdmitAttemptResponse | None, settles: bool = True) -> None:
        self._answer = answer
        self._settles = settles
        self.admitted: list[pb.AdmitAttemptRequest] = []
        self.settled: list[pb.SettleAttemptRequest] = []

    async def AdmitAttempt(self, request: pb.AdmitAttemptRequest, **_: Any) -> pb.AdmitAttemptResponse:
        self.admitted.append(request)
        if self._answer is None:
            raise away()
        return self._answer

    async def SettleAttempt(self, request: pb.SettleAttemptRequest, **_: Any) -> pb.SettleAttemptResponse:
        self.settled.append(request)
        if not self._settles:
            raise away()
        return pb.SettleAttemptResponse(settled=True)


def away() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


def lockout(stub: Stub) -> LockoutClient:
    return LockoutClient(stub, timeout_s=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("settles", [True, False])
async def test_a_place_that_may_have_been_taken_is_given_back_when_the_answer_is_lost(
    settles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.admission._SETTLE_PAUSES_S", (0.0, 0.0))
    stub = Stub(None, settles)
    with pytest.raises(ServiceError) as caught:
        await lockout(stub).admit(GUARDED, Origin())
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    told = [(one.attempt_id, one.WhichOneof("outcome")) for one in stub.settled]
    assert told == [(stub.admitted[0].attempt_id, "not_evaluated")] * (1 if settles else 3), "tried again where it failed"


async def test_an_attempt_is_due_counting_from_before_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.0, 1029.9, 1030.0])
    monkeypatch.setattr("services.auth.admission.boottime", lambda: next(clock))
    answer = pb.AdmitAttemptResponse(admitted=pb.Admitted(epoch=3, attempts_left=1, outcome_within_ms=30_000))
    admission = await lockout(Stub(answer)).admit(GUARDED, Origin())
    assert (admission.epoch, admission.attempts_left) == (3, 1)
    assert admission.in_time()
    assert not admission.in_time()


async def test_an_answer_that_is_not_understood_admits_nobody() -> None:
    with pytest.raises(SignInBlocked):
        await lockout(Stub(pb.AdmitAttemptResponse())).admit(GUARDED, Origin())
