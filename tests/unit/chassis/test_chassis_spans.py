"""What a span says of a call or a handler that failed: nothing that its exception quotes."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from zasov.lockout.v1 import lockout_service_pb2 as pb

from services.chassis import telemetry
from services.chassis.streams import handle_until_done
from tests.unit.chassis.conftest import Peer

PHONE = "79161234567"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """All spans that have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


def duplicate() -> ValueError:
    return ValueError(f"Key (phone)=(+{PHONE}) already exists")


@pytest.mark.row("B2")
async def test_a_call_that_fails_leaves_no_exception_text_in_its_span(exporter: InMemorySpanExporter, peer: Peer) -> None:
    async def fail() -> None:
        raise duplicate()

    peer.servicer.body = fail
    with pytest.raises(grpc.aio.AioRpcError):
        await peer.stub.GetStatus(pb.GetStatusRequest(), timeout=5)
    (span,) = exporter.get_finished_spans()
    assert span.name == "GetStatus"
    assert PHONE not in span.to_json()


@pytest.mark.row("B2")
async def test_a_handler_that_fails_leaves_no_exception_text_in_its_span(exporter: InMemorySpanExporter) -> None:
    tries = []

    async def handle(record: Any) -> None:
        tries.append(record)
        if len(tries) == 1:
            raise duplicate()

    async def bury(record: Any, reason: str) -> None:
        raise AssertionError("not poison")

    record: Any = SimpleNamespace(headers=[], topic="t", partition=0, offset=0)
    await handle_until_done(record, "t", handle, bury, 5.0)
    spans = exporter.get_finished_spans()
    assert len(spans) == 2
    assert PHONE not in "".join(span.to_json() for span in spans)
