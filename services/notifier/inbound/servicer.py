"""gRPC to the store and back: who acts on texts claims them here."""

import re
from datetime import timedelta
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from zasov.notifier.v1 import inbound_service_pb2 as pb
from zasov.notifier.v1.inbound_service_pb2_grpc import InboundServiceServicer

from services.chassis.errors import ServiceError, invalid
from services.chassis.interceptors import Context
from services.chassis.telemetry import logger
from services.notifier import errors
from services.notifier.inbound.store import InboundStore

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CLAIMANT_LENGTH = 200
_SOON = timedelta(milliseconds=50)


class InboundServicer(InboundServiceServicer):
    def __init__(self, store: InboundStore) -> None:
        self._store = store

    async def Claim(self, request: pb.ClaimRequest, context: Context) -> pb.ClaimResponse:
        inbound_id = _uuid_of(request.inbound_id)
        if not 0 < len(request.claimant) <= _CLAIMANT_LENGTH:
            raise invalid({"claimant": "must have 1 to 200 characters"})
        claim = await self._store.claim(inbound_id, request.claimant)
        if claim.retry_in is not None:
            raise ServiceError(
                grpc.StatusCode.FAILED_PRECONDITION,
                errors.INBOUND_CLAIMED,
                "Another worker has it.",
                retry_after=max(_SOON, claim.retry_in),
            )
        if claim.received_at is None or claim.remaining is None:
            raise ServiceError(grpc.StatusCode.NOT_FOUND, errors.INBOUND_VOID, "No such text is to be acted on.")
        logger().info("inbound text claimed", stream_id=str(inbound_id), parts=len(claim.parts))
        received_at = Timestamp()
        received_at.FromDatetime(claim.received_at)
        return pb.ClaimResponse(
            sealed_parts=claim.parts,
            destination=claim.destination,
            received_at=received_at,
            remaining_ms=int(claim.remaining.total_seconds() * 1000),
        )

    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        await self._store.report(_uuid_of(request.inbound_id))
        return pb.ReportResponse()


def _uuid_of(text: str) -> UUID:
    """Raises ServiceError INVALID_ARGUMENT."""
    if not _UUID.fullmatch(text):
        raise invalid({"inbound_id": "must be a UUID"})
    return UUID(text)
