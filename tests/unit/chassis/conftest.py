"""A real gRPC server on loopback with the policy around it, and a servicer that does what the test says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import grpc
import pytest
from zasov.lockout.v1 import lockout_service_pb2 as pb
from zasov.lockout.v1.lockout_service_pb2_grpc import (
    LockoutServiceServicer,
    LockoutServiceStub,
    add_LockoutServiceServicer_to_server,
)

from services.chassis.interceptors import PolicyInterceptor, policy

Body = Callable[[], Awaitable[None]]


@dataclass
class Scripted(LockoutServiceServicer):
    """GetStatus and AdmitAttempt run `body` and answer empty."""

    body: Body
    calls: int = 0

    async def GetStatus(self, request: pb.GetStatusRequest, context: object) -> pb.GetStatusResponse:
        self.calls += 1
        await self.body()
        return pb.GetStatusResponse()


@dataclass
class Peer:
    """The server's address, a channel to it, its stub, what it does, and its door: open at first."""

    address: str
    channel: grpc.aio.Channel
    stub: LockoutServiceStub
    servicer: Scripted
    door: dict[str, Callable[[], None]]


async def nothing() -> None:
    return None


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    door: dict[str, Callable[[], None]] = {}
    interceptor = PolicyInterceptor(policy(most_calls=1000), door)
    server = grpc.aio.server(interceptors=[interceptor], options=[("grpc.so_reuseport", 0)])
    servicer = Scripted(nothing)
    add_LockoutServiceServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield Peer(address, channel, LockoutServiceStub(channel), servicer, door)
    await server.stop(0)
