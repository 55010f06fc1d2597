"""The services that issued what is to be sent: whom to send it to is claimed there, message by message.

What a claim answers lives in memory until the submit's answer, and is claimed again for a retry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from zasov.auth.v1 import delivery_service_pb2 as auth_pb
from zasov.auth.v1.delivery_service_pb2_grpc import DeliveryServiceStub as AuthDeliveryStub
from zasov.otp.v1 import delivery_service_pb2 as otp_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceStub as OtpDeliveryStub

from services.chassis.clock import boottime
from services.chassis.errors import INTERNAL, ServiceError
from services.chassis.rpc_clients import call
from services.notifier.domain import FROM_OTP, ChannelId, Kind, Message, Report
from services.notifier.moments import Moments


@dataclass(frozen=True, slots=True)
class Claimed:
    """Whom to tell, and what. Its parts aren't shown: no log and no exception may name them."""

    channel: ChannelId
    destination: str = field(repr=False)
    language: str
    fields: Mapping[str, str] = field(repr=False)
    lives_until: float  # by boottime

    def remaining(self) -> timedelta:
        return timedelta(seconds=max(0.0, self.lives_until - boottime()))


class Issuers:
    """claimant: names this worker, so that its own claims can be renewed."""

    def __init__(
        self, otp: grpc.aio.Channel, auth: grpc.aio.Channel, claimant: str, timeout_s: float, moments: Moments
    ) -> None:
        self._otp: Any = OtpDeliveryStub(otp)
        self._auth: Any = AuthDeliveryStub(auth)
        self._claimant = claimant
        self._timeout_s = timeout_s
        self._moments = moments

    async def claim(self, message: Message) -> Claimed:
        """Raises ServiceError: DELIVERY_VOID, DELIVERY_CLAIMED, NOTICE_NOT_YET_KNOWN, or that the service is away."""
        asked_at = boottime()  # the lifetime began to run before the answer came
        if message.kind in FROM_OTP:
            code = await self._call(
                self._otp.Claim,
                otp_pb.ClaimRequest(
                    challenge_id=str(message.cause_stream_id), event_id=str(message.cause_event_id), claimant=self._claimant
                ),
            )
            lives_until = asked_at + code.remaining_ms / 1000
            return Claimed(*_destination(code), code.language, {"code": code.code, "tag": code.tag}, lives_until)
        notice = await self._call(
            self._auth.Claim,
            auth_pb.ClaimRequest(
                account_id=str(message.cause_stream_id), event_id=str(message.cause_event_id), claimant=self._claimant
            ),
        )
        fields = {}
        if message.kind is Kind.NEW_DEVICE:
            fields["when"] = self._moments.of(message.cause_event_id, notice.language)
        return Claimed(*_destination(notice), notice.language, fields, asked_at + notice.remaining_ms / 1000)

    async def report(self, message: Message, report: Report) -> None:
        """Tells how it ended. Raises ServiceError."""
        event_id = str(message.cause_event_id)
        if message.kind in FROM_OTP:
            await self._call(
                self._otp.Report,
                otp_pb.ReportRequest(challenge_id=str(message.cause_stream_id), event_id=event_id, outcome=_OTP[report]),
            )
        else:
            await self._call(
                self._auth.Report,
                auth_pb.ReportRequest(account_id=str(message.cause_stream_id), event_id=event_id, outcome=_AUTH[report]),
            )

    async def _call(self, method: Any, request: Any) -> Any:
        return await call(method, request, at_most_s=self._timeout_s)


def _destination(answer: otp_pb.ClaimResponse | auth_pb.ClaimResponse) -> tuple[ChannelId, str]:
    """Raises ServiceError INTERNAL for an answer that names both, or none."""
    if bool(answer.phone) == bool(answer.email):
        raise ServiceError(grpc.StatusCode.INTERNAL, INTERNAL, "A claim names one destination.")
    return (ChannelId.EMAIL, answer.email) if answer.email else (ChannelId.SMS, answer.phone)


_OTP = {Report.SENT: otp_pb.DELIVERY_OUTCOME_SENT, Report.FAILED: otp_pb.DELIVERY_OUTCOME_FAILED}
_AUTH = {Report.SENT: auth_pb.DELIVERY_OUTCOME_SENT, Report.FAILED: auth_pb.DELIVERY_OUTCOME_FAILED}
