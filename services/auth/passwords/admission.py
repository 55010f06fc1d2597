"""Lockout, as auth sees it: a guess is admitted before it is evaluated, and settled after (docs/architecture.md, rule 8)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID, uuid4

from zasov.events.v1.meta_pb2 import Credential, Origin
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.auth import errors
from services.chassis.clock import boottime
from services.chassis.errors import ServiceError
from services.chassis.protocol_trace import OFF, ProtocolTrace
from services.chassis.rpc_clients import call
from services.chassis.telemetry import logger

if TYPE_CHECKING:
    from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceAsyncStub

# Settling goes on after the caller has hung up, so it cannot lean on the caller's deadline.
_SETTLE_S = 5.0
_SETTLE_PAUSES_S = (0.1, 0.5)


class SignInBlocked(Exception):
    """Three strikes at the password of this version."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.epoch = epoch


class OriginLimited(Exception):
    """A penalty lies on the origin."""

    def __init__(self, limited: pb.OriginLimited) -> None:
        super().__init__()
        self.error = errors.origin_limited(limited.retry_after.ToTimedelta())


class CaptchaRequired(Exception):
    """A penalty lies on the number's range or on the whole system, and no captcha was solved."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """Whose guesses are counted together: an account's, or a stranger's guard."""

    owner_id: UUID
    credential: Credential.ValueType
    stranger: bool

    def to_proto(self) -> pb.Subject:
        return pb.Subject(owner_id=str(self.owner_id), credential=self.credential, stranger=self.stranger)


class Admission:
    """The right to evaluate one guess, once, while its outcome still counts. Made by Lockout.admit alone."""

    def __init__(self, attempt_id: UUID, epoch: int, attempts_left: int, due_boottime: float) -> None:
        self.attempt_id = attempt_id
        self.epoch = epoch
        self.attempts_left = attempts_left
        self._due = due_boottime
        self._spent = False

    @property
    def spent(self) -> bool:
        return self._spent

    def spend(self) -> None:
        if self._spent:
            raise RuntimeError("an admission is good for one evaluation")
        self._spent = True

    def in_time(self) -> bool:
        """Whether an outcome may still be disclosed (rule 5): by a clock that counts suspension, since before Admit."""
        return boottime() < self._due


class Lockout(Protocol):
    """What sign-in needs of lockout; a fake stands for it in unit tests."""

    async def admit(self, guarded: Guarded, origin: Origin, captcha_settled: bool) -> Admission: ...
    async def give_back(self, guarded: Guarded, attempt_id: UUID) -> None: ...
    async def settle_right(self, guarded: Guarded, attempt_id: UUID, earlier: Sequence[UUID]) -> bool: ...
    async def raise_epoch(self, guarded: Guarded, epoch: int) -> None: ...
    async def check_origin(self, origin: Origin) -> int: ...


class LockoutClient:
    """Lockout over gRPC. Errors of the call pass as ServiceError. admit_timeout_s: with the wait for a place."""

    def __init__(
        self, stub: "LockoutServiceAsyncStub", *, timeout_s: float, admit_timeout_s: float, trace: ProtocolTrace = OFF
    ) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._admit_timeout_s = admit_timeout_s
        self._trace = trace

    async def admit(self, guarded: Guarded, origin: Origin, captcha_settled: bool = False) -> Admission:
        """Raises SignInBlocked, OriginLimited, CaptchaRequired; ServiceError UNAVAILABLE when no place came free."""
        attempt_id, started = uuid4(), boottime()
        self._trace.write("asked", subject=guarded.owner_id, attempt=attempt_id)
        request = pb.AdmitAttemptRequest(
            subject=guarded.to_proto(), origin=_keys(origin), attempt_id=str(attempt_id), captcha_settled=captcha_settled
        )
        try:
            answer: pb.AdmitAttemptResponse = await call(self._stub.AdmitAttempt, request, at_most_s=self._admit_timeout_s)
        except ServiceError as error:
            # The answer may have been lost after the place was taken.
            await self._give_back_if_reachable(guarded, attempt_id)
            raise error
        match answer.WhichOneof("outcome"):
            case "admitted":
                admitted = answer.admitted
                self._trace.write("heard", subject=guarded.owner_id, attempt=attempt_id, epoch=admitted.epoch)
                due = started + admitted.outcome_within_ms / 1000
                return Admission(attempt_id, admitted.epoch, admitted.attempts_left, due)
            case "origin_limited":
                raise OriginLimited(answer.origin_limited)
            case "captcha_required":
                raise CaptchaRequired
            case _:
                raise SignInBlocked(answer.blocked.epoch)

    async def give_back(self, guarded: Guarded, attempt_id: UUID) -> None:
        await self._settle(guarded, attempt_id, not_evaluated=pb.NotEvaluated())

    async def settle_right(self, guarded: Guarded, attempt_id: UUID, earlier: Sequence[UUID]) -> bool:
        right = pb.Right(earlier_failed_attempt_ids=[str(one) for one in earlier])
        return await self._settle(guarded, attempt_id, right=right)

    async def raise_epoch(self, guarded: Guarded, epoch: int) -> None:
        request = pb.RaiseEpochRequest(subject=guarded.to_proto(), epoch=epoch)
        await call(self._stub.RaiseEpoch, request, at_most_s=self._timeout_s, beyond_deadline=True)

    async def check_origin(self, origin: Origin) -> int:
        """Digits that a code must have at least; 0: any. Raises OriginLimited.

        What asks for a captcha asks for none here: before a code each has solved one, or there is none to solve.
        """
        answer = await call(self._stub.CheckOrigin, pb.CheckOriginRequest(origin=_keys(origin)), at_most_s=self._timeout_s)
        if answer.HasField("limited"):
            raise OriginLimited(answer.limited)
        return int(answer.least_digits)

    async def _give_back_if_reachable(self, guarded: Guarded, attempt_id: UUID) -> None:
        try:
            await self.give_back(guarded, attempt_id)
        except ServiceError as error:
            # Then the sweep will count it: the safe side.
            logger().warning("a place may have been left behind", reason=error.reason)

    async def _settle(
        self,
        guarded: Guarded,
        attempt_id: UUID,
        right: pb.Right | None = None,
        not_evaluated: pb.NotEvaluated | None = None,
    ) -> bool:
        request = pb.SettleAttemptRequest(
            subject=guarded.to_proto(), attempt_id=str(attempt_id), right=right, not_evaluated=not_evaluated
        )
        # Both outcomes are safe to tell again, and untold they would become a strike.
        for pause in _SETTLE_PAUSES_S:
            try:
                return await self._settle_once(request)
            except ServiceError:
                await asyncio.sleep(pause)
        return await self._settle_once(request)

    async def _settle_once(self, request: pb.SettleAttemptRequest) -> bool:
        answer = await call(self._stub.SettleAttempt, request, at_most_s=_SETTLE_S, beyond_deadline=True)
        return bool(answer.settled)


def _keys(origin: Origin) -> pb.OriginKeys:
    return pb.OriginKeys(
        ip_pseudonym=origin.ip_pseudonym,
        subnet_pseudonym=origin.subnet_pseudonym,
        range_pseudonym=origin.range_pseudonym,
    )
