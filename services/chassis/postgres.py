"""A service's own PostgreSQL: the pool, what counts as "away", and migrations."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from services.chassis.settings import ChassisSettings
from services.chassis.telemetry import error_name, logger

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
T = TypeVar("T")

# What a database answers, or doesn't, when it is away, starting, stopping, full or stuck. The same request may be tried again.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)

_ACQUIRE_TIMEOUT_S = 2.0
_SESSION = {
    "jit": "off",
    "lock_timeout": "4s",
    "statement_timeout": "10s",
    # A process that was paused within a transaction must not keep a subject locked. Ours take milliseconds.
    "idle_in_transaction_session_timeout": "3s",
    "application_name": "zasov",
    # A relay whose machine was lost holds its advisory lock for as long as the server believes in its connection.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Keepalives say nothing while something sent is not acknowledged, a wake-up to that relay, say.
    "tcp_user_timeout": "25000",
}


class Database:
    """A pool whose every wait is bounded. Errors in AWAY mean that it is away; it heals by itself."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = await self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S)
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def fetch_row(self, sql: str, *arguments: object) -> asyncpg.Record | None:
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *arguments)

    async def fetch_value(self, sql: str, *arguments: object) -> Any:
        async with self.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def fetch(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def execute(self, sql: str, *arguments: object) -> str:
        async with self.connection() as connection:
            return await connection.execute(sql, *arguments)


@asynccontextmanager
async def open_database(settings: ChassisSettings) -> AsyncIterator[Database]:
    """Waits until the database can be reached: services start in any order."""

    async def keep_session(_: Connection) -> None:
        """No session state is ever set on a pooled connection, so there is none to reset: saves a round trip a query."""

    async def open_pool() -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(
            settings.postgres_url,
            min_size=1,
            max_size=settings.postgres_pool_size,
            command_timeout=settings.postgres_command_timeout_s,
            server_settings=_SESSION,
            reset=keep_session,
        )

    pool = await until_reachable("postgres", open_pool)
    try:
        yield Database(pool)
    finally:
        try:
            await asyncio.wait_for(pool.close(), timeout=5)
        except TimeoutError:
            pool.terminate()


async def connect_directly(settings: ChassisSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection outside the pool, for what needs a session: advisory locks and LISTEN."""
    return await asyncpg.connect(
        settings.postgres_url, command_timeout=settings.postgres_command_timeout_s, server_settings=_SESSION
    )


async def connect_for_long(settings: ChassisSettings) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection for an operator's work that may take hours: its statements and transactions have no time limit."""
    patient = _SESSION | {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
    return await asyncpg.connect(settings.postgres_url, server_settings=patient)


async def until_reachable(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Tries, with a growing pause of at most 2 s, until the other side is there."""
    pause = 0.05
    while True:
        try:
            return await attempt()
        except (*AWAY, asyncpg.InvalidCatalogNameError) as error:
            logger().warning("waiting for the other side", where=what, error=error_name(error))
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)


async def until_migrated(settings: ChassisSettings, folders: Sequence[Path]) -> None:
    """Returns once all SQL files of the folders have been applied: roles and the migrate job start in any order."""
    wanted = {_name_of(path) for folder in folders for path in folder.glob("*.sql")}
    connection = await until_reachable("postgres", lambda: connect_directly(settings))
    try:
        while not wanted <= await _applied(connection):
            logger().warning("waiting for the migrate job")
            await asyncio.sleep(0.5)
    finally:
        await connection.close()


async def _applied(connection: Connection) -> set[str]:
    try:
        return {row["name"] for row in await connection.fetch("SELECT name FROM migration")}
    except asyncpg.UndefinedTableError:
        return set()


def _name_of(path: Path) -> str:
    """auth/0001_auth.sql"""
    return f"{path.parent.parent.name}/{path.name}"


async def migrate(settings: ChassisSettings, folders: Sequence[Path]) -> list[str]:
    """Applies the SQL files of the folders in order, each once, each in a transaction, one migrator at a time.

    Returns the names applied now. A file that was applied before and has changed since is an error: history is not edited.
    """
    connection = await until_reachable("postgres", lambda: connect_for_long(settings))
    applied_now: list[str] = []
    try:
        await connection.execute("SET lock_timeout = 0")
        await connection.execute("SELECT pg_advisory_lock(hashtext('zasov migrate'))")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        known = {row["name"]: row["digest"] for row in await connection.fetch("SELECT name, digest FROM migration")}
        for path in (file for folder in folders for file in sorted(folder.glob("*.sql"))):
            name, text = _name_of(path), path.read_text()
            digest = await connection.fetchval("SELECT encode(sha256($1), 'hex')", text.encode())
            if name in known:
                if known[name] != digest:
                    logger().error("migration was changed after it had been applied", migration=name)
                    raise RuntimeError(f"{name} was changed after it had been applied")
                continue
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute("INSERT INTO migration (name, digest) VALUES ($1, $2)", name, digest)
            applied_now.append(name)
            logger().info("migration applied", migration=name)
    finally:
        await connection.close()
    return applied_now
