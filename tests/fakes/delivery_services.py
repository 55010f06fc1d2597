"""otp's and auth's DeliveryService as the notifier sees them: real gRPC on loopback, answers on command."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
from zasov.auth.v1 import delivery_service_pb2 as auth_pb
from zasov.auth.v1.delivery_service_pb2_grpc import DeliveryServiceServicer as AuthServicer
from zasov.auth.v1.delivery_service_pb2_grpc import add_DeliveryServiceServicer_to_server as add_auth
from zasov.otp.v1 import delivery_service_pb2 as otp_pb
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceServicer as OtpServicer
from zasov.otp.v1.delivery_service_pb2_grpc import add_DeliveryServiceServicer_to_server as add_otp

from services.chassis.errors import ServiceError, unavailable
from services.chassis.interceptors import PolicyInterceptor, policy


def void() -> ServiceError:
    return ServiceError(grpc.StatusCode.NOT_FOUND, "DELIVERY_VOID", "Nothing is open.")


def claimed_by_another(retry_after: timedelta) -> ServiceError:
    return ServiceError(grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_CLAIMED", "Claimed.", retry_after=retry_after)


def not_yet_known(retry_after: timedelta) -> ServiceError:
    return unavailable(retry_after, "NOTICE_NOT_YET_KNOWN")


@dataclass
class Open:
    """What a claim of any event answers."""

    phone: str = "+79160000001"
    email: str = ""  # then there is no phone
    language: str = "ru"
    code: str = "4711"
    tag: str = "47"
    remaining: timedelta = timedelta(minutes=5)
    has_account: bool = True

    def destination(self) -> dict[str, str]:
        return {"email": self.email} if self.email else {"phone": self.phone}


@dataclass
class FakeDelivery:
    """Both services in one. `refuse_claims` and `refuse_reports` are used up one by one, each before an answer."""

    answer: Open = field(default_factory=Open)
    refuse_claims: deque[ServiceError] = field(default_factory=deque)
    refuse_reports: deque[ServiceError] = field(default_factory=deque)
    claims: list[str] = field(default_factory=list)
    reports: list[tuple[str, int]] = field(default_factory=list)
    report_delay_s: float = 0.0
    address: str = ""

    def claim(self, event_id: str) -> Open:
        self.claims.append(event_id)
        if self.refuse_claims:
            raise self.refuse_claims.popleft()
        return self.answer

    async def report(self, event_id: str, outcome: int) -> None:
        await asyncio.sleep(self.report_delay_s)
        if self.refuse_reports:
            raise self.refuse_reports.popleft()
        self.reports.append((event_id, outcome))


class _Otp(OtpServicer):
    def __init__(self, fake: FakeDelivery) -> None:
        self._fake = fake

    async def Claim(self, request: otp_pb.ClaimRequest, context: Any) -> otp_pb.ClaimResponse:  # type: ignore[override]
        found = self._fake.claim(request.event_id)
        remaining_ms = int(found.remaining.total_seconds() * 1000)
        return otp_pb.ClaimResponse(
            **found.destination(),
            language=found.language,
            code=found.code,
            tag=found.tag,
            remaining_ms=remaining_ms,
            has_account=found.has_account,
        )

    async def Report(self, request: otp_pb.ReportRequest, context: Any) -> otp_pb.ReportResponse:  # type: ignore[override]
        await self._fake.report(request.event_id, request.outcome)
        return otp_pb.ReportResponse()


class _Auth(AuthServicer):
    def __init__(self, fake: FakeDelivery) -> None:
        self._fake = fake

    async def Claim(self, request: auth_pb.ClaimRequest, context: Any) -> auth_pb.ClaimResponse:  # type: ignore[override]
        found = self._fake.claim(request.event_id)
        remaining_ms = int(found.remaining.total_seconds() * 1000)
        return auth_pb.ClaimResponse(**found.destination(), language=found.language, remaining_ms=remaining_ms)

    async def Report(self, request: auth_pb.ReportRequest, context: Any) -> auth_pb.ReportResponse:  # type: ignore[override]
        await self._fake.report(request.event_id, request.outcome)
        return auth_pb.ReportResponse()


@asynccontextmanager
async def serving_deliveries(fake: FakeDelivery, address: str = "127.0.0.1:0") -> AsyncIterator[FakeDelivery]:
    server = grpc.aio.server(interceptors=[PolicyInterceptor(policy(most_calls=1000))], options=[("grpc.so_reuseport", 0)])
    add_otp(_Otp(fake), server)
    add_auth(_Auth(fake), server)
    port = server.add_insecure_port(address)
    await server.start()
    fake.address = f"127.0.0.1:{port}"
    try:
        yield fake
    finally:
        await server.stop(0)
