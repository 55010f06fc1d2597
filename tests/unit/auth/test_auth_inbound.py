"""Subscribers' texts as auth takes them: claimed over real gRPC, unsealed, put together, and never shown."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import pytest
from zasov.notifier.v1 import inbound_service_pb2 as pb
from zasov.notifier.v1.inbound_service_pb2 import InboundPart
from zasov.notifier.v1.inbound_service_pb2_grpc import InboundServiceServicer, add_InboundServiceServicer_to_server

from services.auth.identifiers import Phone
from services.auth.texts.inbound import CONTEXT, INBOUND_VOID, InboundTexts, NotReadable
from services.chassis.clock import boottime
from services.chassis.errors import ServiceError
from services.chassis.interceptors import PolicyInterceptor, policy
from services.chassis.rpc_clients import open_channel
from services.chassis.sealing import PrivateSeal, PublicSeal, new_key, public_key_of

pytestmark = pytest.mark.row("M6")

SENDER, COMMAND = "+79161234567", "25 Секретное😀слово"
PRIVATE = new_key()


def part(number: int = 1, total: int = 1, **fields: Any) -> InboundPart:
    said = {"sender": SENDER, "destination": "111", "data_coding": 8, "body": COMMAND.encode("utf-16-be")}
    if total > 1:
        said |= {"reference": 7, "reference_kind": 1}
    return InboundPart(**said | fields, total=total, number=number)


@dataclass
class Notifier(InboundServiceServicer):
    """InboundService as the notifier answers it."""

    parts: list[InboundPart] = field(default_factory=lambda: [part()])
    public_key: bytes = field(default_factory=lambda: public_key_of(PRIVATE))
    void: bool = False
    claims: list[tuple[str, str]] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)

    async def Claim(self, request: pb.ClaimRequest, context: Any) -> pb.ClaimResponse:  # type: ignore[override]
        self.claims.append((request.inbound_id, request.claimant))
        if self.void:
            raise ServiceError(grpc.StatusCode.NOT_FOUND, INBOUND_VOID, "Gone.")
        seal = PublicSeal(self.public_key)
        sealed = [seal.close(one.SerializeToString(), CONTEXT) for one in self.parts]
        return pb.ClaimResponse(sealed_parts=sealed, destination="111", remaining_ms=42_000)

    async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:  # type: ignore[override]
        self.reports.append(request.inbound_id)
        return pb.ReportResponse()


@pytest.fixture
def notifier() -> Notifier:
    return Notifier()


@pytest.fixture
async def texts(notifier: Notifier) -> AsyncIterator[InboundTexts]:
    server = grpc.aio.server(interceptors=[PolicyInterceptor(policy(most_calls=1000))], options=[("grpc.so_reuseport", 0)])
    add_InboundServiceServicer_to_server(notifier, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        yield InboundTexts(channel, PrivateSeal(PRIVATE), "auth 1", 5.0, "RU")
    await server.stop(0)


async def test_a_text_is_claimed_opened_and_reported(texts: InboundTexts, notifier: Notifier) -> None:
    inbound_id = uuid4()
    asked_at = boottime()
    text = await texts.claim(inbound_id)
    assert (text.sender, text.destination, text.text) == (Phone(SENDER), "111", COMMAND)
    assert asked_at + 42 <= text.lives_until <= boottime() + 42
    await texts.report(inbound_id)
    assert notifier.claims == [(str(inbound_id), "auth 1")]
    assert notifier.reports == [str(inbound_id)]


async def test_parts_are_joined_though_a_character_was_torn(texts: InboundTexts, notifier: Notifier) -> None:
    body = COMMAND.encode("utf-16-be")
    tear = body.index("😀".encode("utf-16-be")) + 2
    notifier.parts = [part(1, 2, body=body[:tear]), part(2, 2, body=body[tear:])]
    assert (await texts.claim(uuid4())).text == COMMAND


@pytest.mark.row("B2")
async def test_a_text_never_shows_itself(texts: InboundTexts) -> None:
    text = await texts.claim(uuid4())
    shown = f"{text!r} {text} {[text]}"
    assert not [one for one in (SENDER[1:], "Секретное", "25 ") if one in shown]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [part(1, 2)],
        [part(2, 2), part(1, 2)],
        [part(1, 2), part(1, 2)],
        [part(1, 2), part(2, 2, sender="+79161234568")],
        [part(1, 2), part(2, 2, destination="3339")],
        [part(1, 2), part(2, 2, reference=8)],
        [part(1, 2), part(2, 2, reference_kind=2)],
        [part(1, 2), part(2, 2, data_coding=0)],
        [part(1, 2), part(2, 3)],
        [part(), part()],
    ],
)
async def test_parts_that_are_not_all_of_one_text_of_one_sender_make_none(
    texts: InboundTexts, notifier: Notifier, parts: list[InboundPart]
) -> None:
    notifier.parts = parts
    with pytest.raises(NotReadable):
        await texts.claim(uuid4())


@pytest.mark.parametrize(
    "wrong", [{"sender": "Bank"}, {"sender": "3339"}, {"sender": ""}, {"body": b"\x00"}, {"data_coding": 4}]
)
async def test_what_is_no_text_or_has_no_phone_for_a_sender_is_not_readable(
    texts: InboundTexts, notifier: Notifier, wrong: dict[str, Any]
) -> None:
    notifier.parts = [part(**wrong)]
    with pytest.raises(NotReadable) as met:
        await texts.claim(uuid4())
    assert not str(met.value)
    assert met.value.__suppress_context__


async def test_what_was_sealed_for_another_is_not_readable(texts: InboundTexts, notifier: Notifier) -> None:
    notifier.public_key = public_key_of(new_key())
    with pytest.raises(NotReadable):
        await texts.claim(uuid4())


async def test_a_sender_without_a_country_code_is_of_the_operators_country(texts: InboundTexts, notifier: Notifier) -> None:
    for spelling in ("79161234567", "89161234567", "9161234567"):
        notifier.parts = [part(sender=spelling)]
        assert (await texts.claim(uuid4())).sender == Phone(SENDER)


async def test_the_notifiers_reasons_are_told(texts: InboundTexts, notifier: Notifier) -> None:
    notifier.void = True
    with pytest.raises(ServiceError) as met:
        await texts.claim(uuid4())
    assert met.value.reason == INBOUND_VOID
