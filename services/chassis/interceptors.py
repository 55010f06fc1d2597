"""What happens to every call, in order: the list in `policy()` is the whole policy.

Outermost first. Only the outermost aborts; everything below raises. Before all of it stands the door: what a service knows it
cannot serve is refused there, at about half of the cost.
"""

from __future__ import annotations  # grpc.RpcMethodHandler is generic in its stubs alone

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.trace import SpanKind

from services.chassis import errors, metrics, telemetry
from services.chassis.errors import ServiceError
from services.chassis.postgres import AWAY

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Awaitable[Any]]
Layer = Callable[[str, Behaviour], Behaviour]
# By method, what refuses a call before its request is received: raises ServiceError.
Door = Mapping[str, Callable[[], None]]

MINIMUM_DEADLINE_S = 0.1
# Kept back from what is passed on, so that this service can still report that the other one took too long.
_DEADLINE_SHAVE_S = 0.02

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def remaining_s(at_most: float) -> float:
    """Seconds that a call further down may take: what is left of the caller's deadline, and never more than `at_most`."""
    deadline = _deadline.get()
    return at_most if deadline is None else max(0.0, min(at_most, deadline - time.monotonic() - _DEADLINE_SHAVE_S))


def policy(most_calls: int) -> Sequence[Layer]:
    """The policy, as one reads it."""
    return (map_errors, measure, limit_calls(most_calls), continue_trace, require_deadline, refuse_unknown_fields)


class PolicyInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Wraps every unary method in the layers once, when it is first called. door: asked before each call."""

    def __init__(self, layers: Sequence[Layer], door: Door | None = None) -> None:
        self._layers = layers
        self._door = {} if door is None else door
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        refuse = self._door.get(details.method)
        if refuse is not None:
            try:
                refuse()
            except ServiceError as error:
                return _turned_away(details.method, error)
        wrapped = self._wrapped.get(details.method)
        if wrapped is not None:
            return wrapped
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        behaviour: Behaviour = handler.unary_unary  # type: ignore[assignment]
        for layer in reversed(self._layers):
            behaviour = layer(details.method, behaviour)
        wrapped = grpc.unary_unary_rpc_method_handler(
            _if_readable(details.method, behaviour),
            request_deserializer=_read_by(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )
        self._wrapped[details.method] = wrapped
        return wrapped


def _turned_away(method: str, error: ServiceError) -> grpc.RpcMethodHandler[Any, Any]:
    """As if it took a stream: gRPC answers such a call without having received its request."""

    async def behaviour(_: Any, context: Context) -> None:
        metrics.RPC_SECONDS.labels(method.rpartition("/")[2], error.code.name).observe(0.0)
        await context.abort_with_status(errors.to_status(error))  # type: ignore[attr-defined]

    return grpc.stream_unary_rpc_method_handler(behaviour)


_UNREADABLE = object()


def _read_by(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """gRPC would answer UNKNOWN for what is no message, with the library's own text."""
    assert deserialize is not None  # as generated code has it

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _UNREADABLE

    return read


def _if_readable(method: str, inner: Behaviour) -> Behaviour:
    async def refused(request: Any, context: Context) -> Any:
        raise errors.invalid({"request": "no message of this method"})

    refuse = map_errors(method, measure(method, refused))

    async def behaviour(request: Any, context: Context) -> Any:
        return await (refuse if request is _UNREADABLE else inner)(request, context)

    return behaviour


def map_errors(method: str, inner: Behaviour) -> Behaviour:
    """The only place that aborts: an exception's own text would reach the client as UNKNOWN."""

    async def behaviour(request: Any, context: Context) -> Any:
        try:
            return await inner(request, context)
        except ServiceError as error:
            failure = error
        except grpc.aio.AbortError:
            raise
        except AWAY as error:
            telemetry.logger().warning("database away", method=method, error=telemetry.error_name(error))
            failure = errors.unavailable()
        except Exception as error:
            failure = _unexpected(method, error)
        await context.abort_with_status(errors.to_status(failure))  # type: ignore[attr-defined]
        raise AssertionError("abort raises")

    return behaviour


def _unexpected(method: str, error: BaseException) -> ServiceError:
    telemetry.logger().error(
        "unexpected error", method=method, error=telemetry.error_name(error), where=telemetry.raised_at(error)
    )
    return errors.bug()


def measure(method: str, inner: Behaviour) -> Behaviour:
    name = method.rpartition("/")[2]

    async def behaviour(request: Any, context: Context) -> Any:
        started, code = time.perf_counter(), "CANCELLED"
        metrics.RPC_IN_FLIGHT.inc()
        try:
            response = await inner(request, context)
            code = "OK"
            return response
        except ServiceError as error:
            code = error.code.name
            raise
        except Exception:
            code = "ERROR"
            raise
        finally:
            metrics.RPC_IN_FLIGHT.dec()
            elapsed = time.perf_counter() - started
            metrics.RPC_SECONDS.labels(name, code).observe(elapsed)
            if telemetry.logs_calls():
                telemetry.logger().debug("call", method=name, code=code, duration_ms=round(elapsed * 1000, 1))

    return behaviour


def limit_calls(most: int) -> Layer:
    """Of all methods together. gRPC's own limit refuses without a time to come again: it stands behind this one."""
    under_way = 0

    def layer(_: str, inner: Behaviour) -> Behaviour:
        async def behaviour(request: Any, context: Context) -> Any:
            nonlocal under_way
            if under_way >= most:
                raise errors.overloaded(errors.DEFAULT_RETRY)
            under_way += 1
            try:
                return await inner(request, context)
            finally:
                under_way -= 1

        return behaviour

    return layer


def continue_trace(method: str, inner: Behaviour) -> Behaviour:
    name = method.rpartition("/")[2]

    async def behaviour(request: Any, context: Context) -> Any:
        metadata = context.invocation_metadata() or ()
        parent = next((str(value) for key, value in metadata if key == telemetry.TRACEPARENT), None)
        with telemetry.going_on(name, parent, SpanKind.SERVER):
            return await inner(request, context)

    return behaviour


def require_deadline(method: str, inner: Behaviour) -> Behaviour:
    """A call without a deadline may hang for ever; one with too short a deadline can only be work for nothing."""

    async def behaviour(request: Any, context: Context) -> Any:
        remaining = context.time_remaining()
        # As some clients tell "none": a number of years.
        if remaining is None or remaining > 24 * 3600:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, errors.DEADLINE_REQUIRED, "A deadline is required.")
        if remaining < MINIMUM_DEADLINE_S:
            raise ServiceError(
                grpc.StatusCode.DEADLINE_EXCEEDED, errors.DEADLINE_TOO_SHORT, "Less than 100 ms are left.",
            )  # fmt: skip
        token = _deadline.set(time.monotonic() + remaining)
        try:
            return await inner(request, context)
        finally:
            _deadline.reset(token)

    return behaviour


def refuse_unknown_fields(_: str, inner: Behaviour) -> Behaviour:
    """A field that this version does not know may be the one that the caller relies on."""

    async def behaviour(request: Any, context: Context) -> Any:
        path = unknown_field(request)
        if path is not None:
            raise errors.invalid({path: "unknown field"})
        return await inner(request, context)

    return behaviour


def unknown_field(message: Message) -> str | None:
    """Where the message, or one within it, carries a field that its type doesn't have; None: nowhere."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        return f"#{unknown[0].field_number}"
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        is_map = field.message_type.GetOptions().map_entry
        for item in value.values() if is_map else value if field.is_repeated else (value,):
            inner = unknown_field(item) if isinstance(item, Message) else None
            if inner is not None:
                return f"{field.name}.{inner}"
    return None
