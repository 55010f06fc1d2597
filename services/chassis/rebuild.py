"""`rebuild`: state tables are nothing but their events, folded (docs/architecture.md, Rebuild and refill).

Folds every stream of a service into fresh tables and compares them with the live ones, bit for bit, as of one moment: roles
may go on meanwhile. `replace` puts the live rows right. A service says what to fold, and with what: its `Projection`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from services.chassis.errors import CannotStart
from services.chassis.eventstore import PastEvent, read_back
from services.chassis.postgres import Connection, connect_for_long, until_reachable
from services.chassis.rebuild_sql import Table
from services.chassis.sealing import UnsealError
from services.chassis.settings import ChassisSettings

S = TypeVar("S")
# The name of a table, and a row of it in the order of its columns.
FreshRow = tuple[str, tuple[Any, ...]]

LOCK_TIMEOUT = "10s"
_AT_A_TIME = 1000
_STREAMS_NAMED = 20
_EVENTS = "SELECT * FROM event ORDER BY stream_id, version"
# What a fold may raise of a history that can't be.
_UNFOLDABLE = (ValueError, TypeError, UnsealError)


async def _nothing(_: Connection) -> None:
    return None


@dataclass(frozen=True)
class Projection(Generic[S]):
    """What a service's events make of its tables.

    evolve: a stream's state after one more event; None: before the first. Raises ValueError, TypeError or UnsealError for what
    can't be. rows: what stands in the tables for that state; the event is the stream's last. not_rebuilt: all other tables, and
    why. finish: works on the fresh tables (`fresh_…`) once all streams are folded.
    """

    service: str
    envelope: type[Message]
    tables: Sequence[Table]
    not_rebuilt: Mapping[str, str]
    evolve: Callable[[S | None, PastEvent], S]
    rows: Callable[[S, PastEvent], Iterable[FreshRow]]
    finish: Callable[[Connection], Awaitable[None]] = _nothing


@dataclass(frozen=True)
class Compared:
    """One table. rows: live ones. differing: changed, missing and unexplained rows; streams: whose they are, the first few."""

    table: str
    rows: int
    equal: int
    differing: int
    streams: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What came of a rebuild. The first of `tables` is `event`: events whose bytes and columns disagree, or can't be folded."""

    service: str
    streams: int
    events: int
    tables: tuple[Compared, ...]
    not_rebuilt: Mapping[str, str]
    replaced: bool

    @property
    def is_equal(self) -> bool:
        return not any(one.differing for one in self.tables)

    @property
    def history_is_sound(self) -> bool:
        return not self.tables[0].differing


async def rebuild(settings: ChassisSettings, projection: Projection[Any], *, replace: bool = False) -> Report:
    """Compares; with `replace`, puts right what differs, under a lock that keeps writers out until it is done.

    The report says what was found before. Raises CannotStart when the lock isn't to be had. A history that can't be folded
    replaces nothing.
    """
    connection = await until_reachable("postgres", lambda: connect_for_long(settings))
    try:
        async with connection.transaction(isolation="repeatable_read"):
            if replace:
                # Before the first read: the snapshot must be one that nobody writes behind.
                await _lock(connection, projection)
            report = await compare(connection, projection)
            if not replace or report.is_equal or not report.history_is_sound:
                return report
            await _replace(connection, projection)
            return Report(report.service, report.streams, report.events, report.tables, report.not_rebuilt, replaced=True)
    finally:
        await connection.close()


async def compare(connection: Connection, projection: Projection[Any]) -> Report:
    """Within a transaction of the caller's; leaves the fresh tables (`fresh_…`) there until it ends."""
    for table in projection.tables:
        await connection.execute(table.create_fresh())
    folded = _Folded()
    async with _filling(connection, projection) as put:
        await _fold_all(connection, projection, folded, put)
    await projection.finish(connection)
    compared = [Compared("event", folded.events, folded.events - folded.unsound, folded.unsound, tuple(folded.unsound_streams))]
    for table in projection.tables:
        await connection.execute(f"ANALYZE {table.fresh}")
        compared.append(await _compare(connection, table))
    return Report(projection.service, folded.streams, folded.events, tuple(compared), projection.not_rebuilt, replaced=False)


@dataclass
class _Folded:
    streams: int = 0
    events: int = 0
    unsound: int = 0
    unsound_streams: list[str] = field(default_factory=list)


Put = Callable[[FreshRow], Awaitable[None]]


async def _fold_all(connection: Connection, projection: Projection[Any], folded: _Folded, put: Put) -> None:
    """Stream by stream, by a cursor: the store may be larger than the memory."""
    state: Any = None
    last: PastEvent | None = None
    sound = True

    async def end_stream() -> None:
        if last is not None and sound:
            for row in projection.rows(state, last):
                await put(row)

    stream_id: UUID | None = None
    async for row in connection.cursor(_EVENTS, prefetch=_AT_A_TIME):
        folded.events += 1
        if row["stream_id"] != stream_id:
            await end_stream()
            folded.streams += 1
            stream_id, state, last, sound = row["stream_id"], None, None, True
        if not sound:
            continue
        try:
            last = read_back(projection.envelope, row, 1 if last is None else last.version + 1)
            state = projection.evolve(state, last)
        except _UNFOLDABLE:
            sound = False
            folded.unsound += 1
            if len(folded.unsound_streams) < _STREAMS_NAMED:
                folded.unsound_streams.append(str(row["stream_id"]))
    await end_stream()


@asynccontextmanager
async def _filling(connection: Connection, projection: Projection[Any]) -> AsyncIterator[Put]:
    waiting: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in projection.tables}
    by_name = {table.name: table for table in projection.tables}

    async def flush(name: str) -> None:
        table = by_name[name]
        await connection.copy_records_to_table(table.fresh, records=waiting[name], columns=list(table.columns))
        waiting[name] = []

    async def put(row: FreshRow) -> None:
        name, values = row
        waiting[name].append(values)
        if len(waiting[name]) >= _AT_A_TIME:
            await flush(name)

    yield put
    for name in waiting:
        await flush(name)


async def _compare(connection: Connection, table: Table) -> Compared:
    row = await connection.fetchrow(table.compare(), _STREAMS_NAMED)
    assert row is not None
    return Compared(table.name, row["rows"], row["rows"] - row["not_equal"], row["differing"], tuple(row["streams"]))


async def _lock(connection: Connection, projection: Projection[Any]) -> None:
    names = ", ".join(["event", *(table.name for table in projection.tables)])
    try:
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        # Keeps out those too who have only locked a row so far, to decide on what it says.
        await connection.execute(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
    except asyncpg.LockNotAvailableError:
        raise CannotStart("the tables are in use: stop the service's roles first") from None


async def _replace(connection: Connection, projection: Projection[Any]) -> None:
    for table in projection.tables:
        await connection.execute(table.remove_unexplained())
        await connection.execute(table.put_right())
    for table in projection.tables:
        after = await _compare(connection, table)
        if after.differing:
            raise RuntimeError(f"{table.name} still differs: nothing was replaced")
