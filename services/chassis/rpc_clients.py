"""Calls to other services: balanced over pods, within the caller's deadline, traced."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message

from services.chassis import errors, telemetry
from services.chassis.interceptors import remaining_s

_OPTIONS = (
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A service that was restarted is to be found again at once, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


@asynccontextmanager
async def open_channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """A plaintext channel to host:port or dns:///headless-service:port."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield channel


async def call(method: Any, request: Message, *, at_most_s: float, beyond_deadline: bool = False) -> Any:
    """One call. Raises errors.ServiceError as the other service gave it; TEMPORARILY_UNAVAILABLE for DEADLINE_TOO_SHORT.

    at_most_s: bounded further by the caller's deadline, unless `beyond_deadline`: for work that must end even if the
    caller hung up.
    """
    timeout = at_most_s if beyond_deadline else remaining_s(at_most_s)
    traceparent = telemetry.current_traceparent()
    metadata = ((telemetry.TRACEPARENT, traceparent),) if traceparent else None
    try:
        return await method(request, timeout=timeout, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        failure = errors.from_rpc_error(error)
        # Of what was left here for this call: our caller, if there is one, gave more. A part may be done; he is to come again.
        raise (errors.unavailable() if failure.reason == errors.DEADLINE_TOO_SHORT else failure) from None
