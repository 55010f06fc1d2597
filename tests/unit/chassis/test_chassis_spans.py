"""What a span says of a handler that failed: nothing that its exception quotes."""

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.chassis import telemetry
from services.chassis.streams import handle_until_done


@pytest.mark.row("B2")
async def test_a_handler_that_fails_leaves_no_exception_text_in_its_span(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider, tries = InMemorySpanExporter(), TracerProvider(), []
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))

    async def handle(record: Any) -> None:
        tries.append(record)
        if len(tries) == 1:
            raise ValueError("Key (phone)=(+79161234567) already exists")

    async def bury(record: Any, reason: str) -> None:
        raise AssertionError("not poison")

    record: Any = SimpleNamespace(headers=[], topic="t", partition=0, offset=0)
    await handle_until_done(record, "t", handle, bury, 5.0)
    spans = exporter.get_finished_spans()
    provider.shutdown()
    assert len(spans) == 2
    assert "79161234567" not in "".join(span.to_json() for span in spans)
