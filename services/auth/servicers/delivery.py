"""DeliveryService: for the notifier."""

from zasov.auth.v1 import (
    delivery_service_pb2,
    delivery_service_pb2_grpc,
)

from services.auth.notices import Notices
from services.auth.requests import required, uuid_in
from services.chassis.errors import invalid
from services.chassis.interceptors import Context

_LONGEST_CLAIMANT = 128


class DeliveryServicer(delivery_service_pb2_grpc.DeliveryServiceServicer):
    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    async def Claim(self, request: delivery_service_pb2.ClaimRequest, context: Context) -> delivery_service_pb2.ClaimResponse:
        claimant = required("claimant", request.claimant)
        if len(claimant) > _LONGEST_CLAIMANT:
            raise invalid({"claimant": f"longer than {_LONGEST_CLAIMANT} characters"})
        claimed = await self._notices.claim(
            uuid_in("account_id", request.account_id), uuid_in("event_id", request.event_id), claimant
        )
        return delivery_service_pb2.ClaimResponse(
            phone=claimed.contact.phone.e164 if claimed.contact.phone else "",
            email="" if claimed.contact.phone else claimed.contact.email,
            language=claimed.contact.language,
            remaining_ms=int(claimed.remaining.total_seconds() * 1000),
        )

    async def Report(
        self, request: delivery_service_pb2.ReportRequest, context: Context
    ) -> delivery_service_pb2.ReportResponse:
        if request.outcome not in (delivery_service_pb2.DELIVERY_OUTCOME_SENT, delivery_service_pb2.DELIVERY_OUTCOME_FAILED):
            raise invalid({"outcome": "required"})
        await self._notices.close(uuid_in("account_id", request.account_id), uuid_in("event_id", request.event_id))
        return delivery_service_pb2.ReportResponse()
