"""The lockout service on a real PostgreSQL, in this process, behind a real gRPC server."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD
from zasov.lockout.v1 import lockout_service_pb2 as pb
from zasov.lockout.v1.lockout_service_pb2_grpc import LockoutServiceStub, add_LockoutServiceServicer_to_server

import services.chassis
import services.lockout
from devstack.waiting import free_port
from services.chassis.lifecycle import Lifecycle
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.chassis.rpc_server import serving
from services.lockout import store as outcome
from services.lockout.domain import SubjectKey
from services.lockout.penalties import PenaltyStore
from services.lockout.servicer import LockoutServicer
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore
from services.lockout.turnstile import Turnstile
from tests.integration.databases import Databases
from tests.integration.rebuilding import assert_rows_are_their_events


@dataclass(frozen=True)
class Someone:
    """A subject, as the store and as the calls know it."""

    owner: UUID = field(default_factory=uuid4)
    stranger: bool = False

    @property
    def key(self) -> SubjectKey:
        return SubjectKey(self.owner, CREDENTIAL_PASSWORD, self.stranger)

    @property
    def id(self) -> UUID:
        return self.key.subject_id

    @property
    def columns(self) -> tuple[UUID, UUID, int, bool]:
        return self.id, self.key.owner_id, self.key.credential, self.key.stranger

    @property
    def message(self) -> pb.Subject:
        return pb.Subject(owner_id=str(self.owner), credential=CREDENTIAL_PASSWORD, stranger=self.stranger)


class Lockout:
    """The store, a connection to look into it, and what tests do over and over."""

    def __init__(self, store: LockoutStore, penalties: PenaltyStore, sql: asyncpg.Connection) -> None:
        self.store = store
        self.penalties = penalties
        self.sql = sql

    async def open_attempt(self, who: Someone) -> UUID:
        attempt_id = uuid4()
        assert isinstance(await self.store.admit(who.key, attempt_id, []), outcome.Admitted)
        return attempt_id

    async def strike(self, who: Someone, times: int = 1) -> None:
        for _ in range(times):
            await self.store.record_failure(who.id, await self.open_attempt(who))

    async def state(self, who: Someone) -> tuple[int, bool, int, int]:
        """Strikes, whether blocked, epoch, open attempts."""
        subject, open_attempts = await self.store.status(who.key)
        return subject.strikes, subject.blocked_at is not None, subject.epoch, open_attempts

    async def events(self, who: Someone) -> list[str]:
        rows = await self.sql.fetch("SELECT type FROM event WHERE stream_id = $1 ORDER BY version", who.id)
        return [row["type"] for row in rows]

    async def are_waiting_for_locks(self, count: int) -> bool:
        await self.sql.execute("SELECT pg_stat_clear_snapshot()")
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(await self.sql.fetchval(sql) == count)

    async def let_pass(self, seconds: float) -> None:
        """Makes open attempts and penalties that much older."""
        await self.sql.execute("UPDATE attempt SET admitted_at = admitted_at - $1::interval", timedelta(seconds=seconds))
        await self.sql.execute("UPDATE penalty SET until = until - $1::interval", timedelta(seconds=seconds))


@dataclass(frozen=True)
class Server:
    """One replica: its stub, and the calls that tests make of it."""

    stub: LockoutServiceStub

    def admit(self, who: Someone, attempt_id: UUID, timeout: float = 10.0, **origin: str) -> Any:
        request = pb.AdmitAttemptRequest(
            subject=who.message, attempt_id=str(attempt_id), origin=pb.OriginKeys(**origin) if origin else None
        )
        return self.stub.AdmitAttempt(request, timeout=timeout)

    async def right(self, who: Someone, attempt_id: UUID, *earlier: UUID) -> bool:
        right = pb.Right(earlier_failed_attempt_ids=[str(one) for one in earlier])
        request = pb.SettleAttemptRequest(subject=who.message, attempt_id=str(attempt_id), right=right)
        return bool((await self.stub.SettleAttempt(request, timeout=10)).settled)

    async def give_back(self, who: Someone, attempt_id: UUID) -> bool:
        request = pb.SettleAttemptRequest(subject=who.message, attempt_id=str(attempt_id), not_evaluated=pb.NotEvaluated())
        return bool((await self.stub.SettleAttempt(request, timeout=10)).settled)

    async def raise_epoch(self, who: Someone, epoch: int) -> int:
        return int((await self.stub.RaiseEpoch(pb.RaiseEpochRequest(subject=who.message, epoch=epoch), timeout=10)).epoch)


@pytest.fixture
def lockout_url(databases: Databases) -> Iterator[str]:
    """URL of a migrated, empty database that nobody else uses meanwhile."""
    with databases.borrowed(services.chassis, services.lockout) as url:
        yield url


@asynccontextmanager
async def lockout_at(url: str, pool_size: int = 20) -> AsyncIterator[Lockout]:
    settings = LockoutSettings(postgres_url=url, postgres_pool_size=pool_size)
    async with open_database(settings) as database:
        sql = await asyncpg.connect(url)
        waker = OutboxWaker(database)
        try:
            yield Lockout(LockoutStore(database, waker), PenaltyStore(waker), sql)
        finally:
            await sql.close()


@pytest.fixture
async def lockout(lockout_url: str) -> AsyncIterator[Lockout]:
    async with lockout_at(lockout_url) as lockout:
        yield lockout
        await assert_rows_are_their_events(lockout.sql, "lockout")


ServerMaker = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def new_server(lockout_url: str) -> ServerMaker:
    """Starts a replica; keyword arguments are settings."""

    @asynccontextmanager
    async def start(**changed: Any) -> AsyncIterator[Server]:
        address = f"127.0.0.1:{free_port()}"
        settings = LockoutSettings(postgres_url=lockout_url, listen=address, **changed)
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_database(settings))
            turnstile = Turnstile(settings.admission_wait_s, settings.admission_longest_s, settings.admission_poll_s)
            servicer = LockoutServicer(LockoutStore(database, OutboxWaker(database)), turnstile, outcome_within_ms=30_000)
            add = [lambda server: add_LockoutServiceServicer_to_server(servicer, server)]
            await stack.enter_async_context(serving(settings, Lifecycle(), add, ()))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            yield Server(LockoutServiceStub(channel))

    return start


@pytest.fixture
async def server(new_server: ServerMaker) -> AsyncIterator[Server]:
    async with new_server() as server:
        yield server
