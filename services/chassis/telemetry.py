"""Logs, metrics and traces. None of them may hold a secret or personal data (mission row B2).

Logs: JSON lines on standard error, of allow-listed fields only. Traces: OpenTelemetry; the context crosses gRPC metadata
and Kafka headers as W3C `traceparent`.
"""

import errno
import json
import logging
import ssl
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

# What a log line may say. A field that is not here is left out, and its name said: that is how one finds out.
ALLOWED_LOG_FIELDS = frozenset(
    {
        "event", "level", "timestamp", "logger", "service", "role", "trace_id",
        "method", "code", "reason", "duration_ms", "error", "where", "attempt", "address", "topic", "partition", "offset",
        "count", "database", "migration", "group", "state", "kind", "outcome", "status", "stream_id", "version", "event_id",
        "seconds", "key", "parts", "digits",
    }
)  # fmt: skip

TRACEPARENT = "traceparent"
_propagator = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None
_level = logging.INFO


def configure(service: str, role: str, level: str, traces_file: Path | None, sample_ratio: float) -> None:
    """Once a process, before anything logs."""
    global _tracer, _level
    _tracer, _level = None, logging.getLevelNamesMapping()[level]
    _configure_logs(service, role, level)
    provider = TracerProvider(
        resource=Resource({"service.name": f"zasov-{service}", "zasov.role": role}),
        sampler=ParentBased(TraceIdRatioBased(sample_ratio if traces_file else 0.0)),
    )
    if traces_file is not None:
        provider.add_span_processor(BatchSpanProcessor(_JsonLinesExporter(traces_file), schedule_delay_millis=500))
    trace.set_tracer_provider(provider)


def tracer() -> trace.Tracer:
    # The SDK makes a new one at each request for it, which under load costs more than the span.
    global _tracer
    if _tracer is None:
        _tracer = trace.get_tracer("zasov")
    return _tracer


def logs_calls() -> bool:
    """Whether each call gets a line: asked first, for making the line costs more than answering some calls."""
    return _level <= logging.DEBUG


def current_traceparent() -> str | None:
    """The W3C header of the span that is open now, to be written beside an event or sent with a call."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get(TRACEPARENT)


def context_of(traceparent: str | None) -> Context | None:
    """What `start_as_current_span(context=…)` takes to go on with a trace that came from elsewhere."""
    return _propagator.extract({TRACEPARENT: traceparent}) if traceparent else None


def going_on(name: str, traceparent: str | None, kind: SpanKind = SpanKind.INTERNAL) -> AbstractContextManager[trace.Span]:
    """A span of a trace that came from elsewhere; without a header, of one that begins here."""
    return tracer().start_as_current_span(
        name,
        context=context_of(traceparent),
        kind=kind,
        # Off: both would write the exception's text into the span.
        record_exception=False,
        set_status_on_exception=False,
    )


def logger() -> structlog.stdlib.BoundLogger:
    return structlog.stdlib.get_logger()


def error_name(error: BaseException) -> str:
    """What a log line may say of an exception: its type, and which of the system's errors it is (EADDRINUSE). Messages quote
    parameters and rows.
    """
    name = type(error).__name__
    if not isinstance(error, OSError) or isinstance(error, ssl.SSLError):  # whose numbers are OpenSSL's
        return name
    system = errno.errorcode.get(error.errno or 0)
    return f"{name} {system}" if system else name


def raised_at(error: BaseException) -> str:
    """File and line: enough to find it, and nothing that anybody typed."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    path = trace.tb_frame.f_code.co_filename
    return f"{'/'.join(path.split('/')[-2:])}:{trace.tb_lineno}"


def _only_allowed(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    unknown = [name for name in fields if name not in ALLOWED_LOG_FIELDS]
    if unknown:
        fields = {name: value for name, value in fields.items() if name in ALLOWED_LOG_FIELDS}
        fields["error"] = f"log fields not allowed: {sorted(unknown)}"
    return fields


class _LibraryFormatter(logging.Formatter):
    """A library's line: its name and the unformatted message, for arguments may hold anything.

    Only the message's first line: asyncio puts the exception's own text, ready-made, into those that follow.
    """

    def __init__(self, fixed: Mapping[str, str]) -> None:
        super().__init__()
        self._fixed = fixed

    def format(self, record: logging.LogRecord) -> str:
        event = str(record.msg).partition("\n")[0]
        line = {**self._fixed, "level": record.levelname.lower(), "logger": record.name, "event": event}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line)


def _configure_logs(service: str, role: str, level: str) -> None:
    fixed = {"service": service, "role": role}

    def add_fixed(_: object, __: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # Of the call or the event that it is about: it leads to its spans and its events.
        span = trace.get_current_span().get_span_context()
        return {**fields, **fixed, **({"trace_id": format(span.trace_id, "032x")} if span.is_valid else {})}

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_fixed,
            _only_allowed,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryFormatter(fixed))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class _JsonLinesExporter(SpanExporter):
    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            self._file.write(span.to_json(indent=None) + "\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()
