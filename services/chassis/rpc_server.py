"""A gRPC server as every service runs it: the policy around each method, health on a port of its own, a drain at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from services.chassis.interceptors import Door, Layer, PolicyInterceptor, policy
from services.chassis.lifecycle import Lifecycle
from services.chassis.settings import ChassisSettings

_OPTIONS = (
    # A stale process must not silently share the port.
    ("grpc.so_reuseport", 0),
    # round_robin clients meet new pods only when they resolve again.
    ("grpc.max_connection_age_ms", 5 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 30 * 1000),
    # Larger than any valid request by far, so that an absurd one gets a field violation and not a bare status.
    ("grpc.max_receive_message_length", 12 * 1024 * 1024),
)


@asynccontextmanager
async def serving(
    settings: ChassisSettings,
    life: Lifecycle,
    add_servicers: Sequence[Callable[[grpc.aio.Server], None]],
    service_names: Sequence[str],
    layers: Sequence[Layer] = (),
    door: Door | None = None,
) -> AsyncIterator[None]:
    """Serves while the body runs; afterwards not ready, a pause for endpoints to notice, then calls under way may end.

    layers: what the service itself wraps its methods in, within the policy. door: what it asks before anything of that.
    """
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_server = grpc.aio.server(options=_OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(health, health_server)
    _bind(health_server, settings.health_listen)
    await health_server.start()

    server = grpc.aio.server(
        interceptors=[PolicyInterceptor([*policy(settings.max_concurrent_calls), *layers], door)],
        options=_OPTIONS,
        # Behind the policy's own limit, which says when to come again: for what comes faster than it can be told so.
        maximum_concurrent_rpcs=2 * settings.max_concurrent_calls,
    )
    for add in add_servicers:
        add(server)
    if settings.reflection:
        reflection.enable_server_reflection([*service_names, reflection.SERVICE_NAME], server)
    _bind(server, settings.listen)
    await server.start()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    life.ready()
    try:
        yield
    finally:
        await health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await asyncio.sleep(settings.drain_delay_s)
        await server.stop(settings.drain_grace_s)
        await health_server.stop(0)


def _bind(server: grpc.aio.Server, address: str) -> None:
    """Raises RuntimeError when the port is taken."""
    server.add_insecure_port(address)
