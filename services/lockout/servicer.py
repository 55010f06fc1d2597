"""zasov.lockout.v1.LockoutService: translates, and nothing else."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from zasov.events.v1.meta_pb2 import CREDENTIAL_UNSPECIFIED, Credential
from zasov.lockout.v1 import lockout_service_pb2 as pb
from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceServicer

from services.chassis.errors import invalid
from services.chassis.interceptors import Context, remaining_s
from services.lockout import store
from services.lockout.domain import SubjectKey
from services.lockout.penalties import WHOLE_SYSTEM
from services.lockout.turnstile import Turnstile

_LONGER_DIGITS = 6


class LockoutServicer(LockoutServiceServicer):
    """outcome_within_ms: see the proto; half the sweep's age. stream_away_after: since the stream's last beat."""

    def __init__(
        self,
        lockout: store.LockoutStore,
        turnstile: Turnstile,
        outcome_within_ms: int,
        stream_away_after: timedelta = timedelta(seconds=30),
    ) -> None:
        self._lockout = lockout
        self._turnstile = turnstile
        self._outcome_within_ms = outcome_within_ms
        self._stream_away_after = stream_away_after

    async def AdmitAttempt(self, request: pb.AdmitAttemptRequest, context: Context) -> pb.AdmitAttemptResponse:
        key = _subject(request.subject)
        attempt_id = _uuid("attempt_id", request.attempt_id)
        pseudonyms = _pseudonyms(request.origin)

        async def admit() -> store.Admission:
            admission = self._lockout.admit(key, attempt_id, pseudonyms, request.captcha_settled)
            return await self._heard_of(key.subject_id, attempt_id, admission)

        outcome = await self._turnstile.admit(key.subject_id, admit, remaining_s(at_most=60))
        match outcome:
            case store.Admitted(epoch, attempts_left):
                return pb.AdmitAttemptResponse(
                    admitted=pb.Admitted(epoch=epoch, attempts_left=attempts_left, outcome_within_ms=self._outcome_within_ms)
                )
            case store.Blocked(blocked_at, epoch):
                since = Timestamp()
                since.FromDatetime(blocked_at)
                return pb.AdmitAttemptResponse(blocked=pb.Blocked(blocked_at=since, epoch=epoch))
            case store.Limited(retry_after):
                return pb.AdmitAttemptResponse(origin_limited=_limited(retry_after))
            case store.CaptchaRequired():
                return pb.AdmitAttemptResponse(captcha_required=pb.CaptchaRequired())
            case _:
                raise AssertionError("the turnstile answers Full to nobody")

    async def SettleAttempt(self, request: pb.SettleAttemptRequest, context: Context) -> pb.SettleAttemptResponse:
        key = _subject(request.subject)
        attempt_id = _uuid("attempt_id", request.attempt_id)
        match request.WhichOneof("outcome"):
            case "right":
                earlier = [_uuid("right.earlier_failed_attempt_ids", one) for one in request.right.earlier_failed_attempt_ids]
                settled = await self._lockout.settle_right(key, attempt_id, earlier)
            case "not_evaluated":
                settled = await self._lockout.give_back(key.subject_id, attempt_id)
            case _:
                raise invalid({"outcome": "required"})
        self._turnstile.freed(key.subject_id)
        return pb.SettleAttemptResponse(settled=settled)

    async def RaiseEpoch(self, request: pb.RaiseEpochRequest, context: Context) -> pb.RaiseEpochResponse:
        key = _subject(request.subject)
        if request.epoch < 1:
            raise invalid({"epoch": "must be at least 1"})
        held = await self._lockout.raise_epoch(key, request.epoch)
        self._turnstile.freed(key.subject_id)
        return pb.RaiseEpochResponse(epoch=held)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        subject, open_attempts = await self._lockout.status(_subject(request.subject))
        response = pb.GetStatusResponse(epoch=subject.epoch, strikes=subject.strikes, open_attempts=open_attempts)
        if subject.blocked_at is not None:
            response.blocked_at.FromDatetime(subject.blocked_at)
        return response

    async def CheckOrigin(self, request: pb.CheckOriginRequest, context: Context) -> pb.CheckOriginResponse:
        standing = await self._lockout.code_standing(_pseudonyms(request.origin), self._stream_away_after)
        # While nobody keeps the soft limits, codes are as long as under one.
        longer = standing.longer or not standing.stream_there
        return pb.CheckOriginResponse(
            limited=None if standing.limited is None else _limited(standing.limited),
            captcha_required=pb.CaptchaRequired() if standing.asks_captcha else None,
            least_digits=_LONGER_DIGITS if longer else 0,
        )

    async def _heard_of(
        self, subject_id: UUID, attempt_id: UUID, admit: Coroutine[Any, Any, store.Admission]
    ) -> store.Admission:
        """The outcome of an admission; if the caller hangs up meanwhile, its place is given back."""
        task = asyncio.create_task(admit)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if isinstance(await task, store.Admitted):
                await self._lockout.give_back(subject_id, attempt_id)
                self._turnstile.freed(subject_id)
            raise


def _subject(subject: pb.Subject) -> SubjectKey:
    if subject.credential == CREDENTIAL_UNSPECIFIED or subject.credential not in Credential.values():
        raise invalid({"subject.credential": "required"})
    return SubjectKey(_uuid("subject.owner_id", subject.owner_id), subject.credential, subject.stranger)


def _uuid(field: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise invalid({field: "must be a UUID"}) from None


def _pseudonyms(origin: pb.OriginKeys) -> list[str]:
    given = [one for one in (origin.ip_pseudonym, origin.subnet_pseudonym, origin.range_pseudonym) if one]
    return [*given, WHOLE_SYSTEM]


def _limited(retry_after: timedelta) -> pb.OriginLimited:
    duration = Duration()
    duration.FromTimedelta(retry_after)
    return pb.OriginLimited(retry_after=duration)
