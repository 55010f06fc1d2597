"""Subscribers' texts, as auth takes them from the notifier: claimed, unsealed, put together. Not what they ask for."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import grpc
from google.protobuf.message import DecodeError
from zasov.notifier.v1.inbound_service_pb2 import ClaimRequest, InboundPart, ReportRequest
from zasov.notifier.v1.inbound_service_pb2_grpc import InboundServiceStub

from services.auth.identifiers import Phone, parse_phone
from services.auth.settings import AuthSettings
from services.chassis.clock import boottime
from services.chassis.errors import ServiceError
from services.chassis.rpc_clients import call, open_channel
from services.chassis.sealing import PrivateSeal, UnsealError, read_key
from services.chassis.sms_coding import TextError, decode

# What the notifier seals an InboundPart with (services/notifier/inbound/sealed.py).
CONTEXT = b"zasov.notifier.v1.InboundPart"

# Reasons of the notifier's InboundService.
INBOUND_VOID = "INBOUND_VOID"
INBOUND_CLAIMED = "INBOUND_CLAIMED"


class NotReadable(Exception):
    """What was claimed makes no text, or has no phone for a sender. It never will: report it. Never carries any of it."""


@dataclass(frozen=True, slots=True, repr=False)
class InboundText:
    """A whole text. It may hold a password: neither it nor its sender shows in a repr.

    destination: the short number that it was sent to. lives_until: by boottime; it is not to be acted on later.
    """

    sender: Phone
    destination: str
    text: str = field(repr=False)
    lives_until: float

    def __repr__(self) -> str:
        return "InboundText(…)"


class InboundTexts:
    """claimant: names this worker, so that its own claims can be renewed. region: of senders without a country code."""

    def __init__(self, notifier: grpc.aio.Channel, seal: PrivateSeal, claimant: str, timeout_s: float, region: str) -> None:
        self._stub: Any = InboundServiceStub(notifier)
        self._seal = seal
        self._claimant = claimant
        self._timeout_s = timeout_s
        self._region = region

    async def claim(self, inbound_id: UUID) -> InboundText:
        """Raises NotReadable; ServiceError: INBOUND_VOID, INBOUND_CLAIMED (retry_after), or that the notifier is away."""
        asked_at = boottime()  # the lifetime began to run before the answer came
        request = ClaimRequest(inbound_id=str(inbound_id), claimant=self._claimant)
        claimed = await call(self._stub.Claim, request, at_most_s=self._timeout_s)
        parts = [self._open(sealed) for sealed in claimed.sealed_parts]
        _require_one_text(parts)
        try:
            text = decode(b"".join(part.body for part in parts), parts[0].data_coding)
            sender = parse_phone(parts[0].sender, self._region)
        except (TextError, ServiceError):
            raise NotReadable from None
        return InboundText(sender, parts[0].destination, text, asked_at + claimed.remaining_ms / 1000)

    async def report(self, inbound_id: UUID) -> None:
        """The notifier deletes the text. Idempotent. Raises ServiceError."""
        await call(self._stub.Report, ReportRequest(inbound_id=str(inbound_id)), at_most_s=self._timeout_s)

    def _open(self, sealed: bytes) -> InboundPart:
        try:
            return InboundPart.FromString(self._seal.open(sealed, CONTEXT))
        except (UnsealError, DecodeError):
            raise NotReadable from None


def _require_one_text(parts: Sequence[InboundPart]) -> None:
    """Raises NotReadable unless they are all the parts of one text, in order: nobody's words are put into another's mouth."""
    what_all_share = {
        (part.sender, part.destination, part.data_coding, part.reference, part.reference_kind, part.total) for part in parts
    }
    numbers = [part.number for part in parts]
    if len(what_all_share) != 1 or numbers != list(range(1, parts[0].total + 1)):
        raise NotReadable


@asynccontextmanager
async def open_inbound_texts(settings: AuthSettings) -> AsyncIterator[InboundTexts]:
    """For a role. Raises CannotStart without the key."""
    seal = PrivateSeal(read_key(settings.keys_dir / "auth-inbound.key"))
    async with open_channel(settings.notifier_address) as channel:
        yield InboundTexts(channel, seal, f"auth {uuid4()}", settings.call_timeout_s, settings.region)
