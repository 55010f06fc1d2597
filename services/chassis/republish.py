"""`republish`: Kafka is filled again from the event store, by the relay itself, beside its daily work.

An operator's request is a row (`republication`). Whichever relay holds the outbox walks through the store in order of
(stream_id, version), a batch between two of the outbox's, and keeps its place in that row: another relay goes on from there.

Per-stream order holds although new events are published meanwhile: before the first new event of a stream that the walk
has not come to, all that is older of it is published. What is published twice by that is a version seen before.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.chassis import metrics
from services.chassis.postgres import connect_for_long, until_reachable
from services.chassis.publishing import RECORD, Publisher
from services.chassis.settings import ChassisSettings

# Wakes the relay: there is something in the outbox, or a request.
CHANNEL = "outbox"
_BATCH = 500
_FOLLOW_EVERY_S = 0.2
_OPEN = "SELECT id, since, stream_id, version FROM republication WHERE finished_at IS NULL ORDER BY id LIMIT 1"
_WALK = f"""
    SELECT {RECORD}, e.is_public FROM event e WHERE (e.stream_id, e.version) > ($1, $2)
    ORDER BY e.stream_id, e.version LIMIT $3
"""  # noqa: S608
_HISTORY = f"""
    SELECT {RECORD}, e.is_public FROM event e WHERE e.stream_id = $1 AND e.version > $2 AND e.version < $3
    ORDER BY e.version LIMIT $4
"""  # noqa: S608


@dataclass
class _Walk:
    """A request under way. caught_up: streams ahead of the walk whose history is in Kafka already."""

    id: int
    since: datetime | None
    stream_id: UUID
    version: int
    caught_up: set[UUID]

    def has_passed(self, stream_id: UUID) -> bool:
        return stream_id < self.stream_id or stream_id in self.caught_up

    def wants(self, row: asyncpg.Record) -> bool:
        return row["is_public"] and (self.since is None or row["occurred_at"] >= self.since)


class Republishing:
    """The relay's part. Errors of the database and KafkaError pass through, and the batch is published once more."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", publisher: Publisher) -> None:
        self._connection = connection
        self._publisher = publisher
        self._walk: _Walk | None = None

    async def look(self) -> None:
        """Takes up the oldest request, unless one is under way."""
        if self._walk is None and (row := await self._connection.fetchrow(_OPEN)) is not None:
            self._walk = _Walk(row["id"], row["since"], row["stream_id"], row["version"], set())

    async def catch_up(self, rows: Iterable[asyncpg.Record]) -> None:
        """Before these are published for the first time: what is older of their streams, where the walk has not been."""
        walk = self._walk
        if walk is None:
            return
        for row in rows:
            if not walk.has_passed(row["stream_id"]):
                await self._publish_history(walk, row["stream_id"], row["version"])
                walk.caught_up.add(row["stream_id"])

    async def publish_batch(self) -> bool:
        """A step of the walk. False: there is nothing to be published again."""
        walk = self._walk
        if walk is None:
            return False
        rows = await self._connection.fetch(_WALK, walk.stream_id, walk.version, _BATCH)
        published = [row for row in rows if row["stream_id"] not in walk.caught_up and walk.wants(row)]
        await self._publish(walk, published)
        if rows:
            walk.stream_id, walk.version = rows[-1]["stream_id"], rows[-1]["version"]
        await self._connection.execute(
            "UPDATE republication SET stream_id = $2, version = $3,"
            " finished_at = CASE WHEN $4 THEN clock_timestamp() END WHERE id = $1",
            walk.id, walk.stream_id, walk.version, len(rows) < _BATCH,
        )  # fmt: skip
        if len(rows) < _BATCH:
            self._walk = None
        return True

    async def _publish_history(self, walk: _Walk, stream_id: UUID, before: int) -> None:
        version = 0
        while True:
            rows = await self._connection.fetch(_HISTORY, stream_id, version, before, _BATCH)
            await self._publish(walk, [row for row in rows if walk.wants(row)])
            if len(rows) < _BATCH:
                return
            version = rows[-1]["version"]

    async def _publish(self, walk: _Walk, rows: list[asyncpg.Record]) -> None:
        if not rows:
            return
        await self._publisher.publish(rows, again=True)
        metrics.REPUBLISHED_EVENTS.inc(len(rows))
        await self._connection.execute("UPDATE republication SET published = published + $2 WHERE id = $1", walk.id, len(rows))


@dataclass(frozen=True)
class Progress:
    """How far a request has come. at_stream: the walk's place among all streams, in order of their ids."""

    published: int
    at_stream: UUID
    finished: bool


async def request(settings: ChassisSettings, since: datetime | UUID | None = None) -> int:
    """Asks the relay to publish all public events again, those since a time, or those of streams from that id on.

    Returns the request's id.
    """
    connection = await until_reachable("postgres", lambda: connect_for_long(settings))
    try:
        at = since if isinstance(since, datetime) else None
        first = since if isinstance(since, UUID) else UUID(int=0)
        # Version 0 comes before all events of the stream that it names.
        made: int = await connection.fetchval(
            "INSERT INTO republication (since, stream_id) VALUES ($1, $2) RETURNING id", at, first
        )
        await connection.execute(f"NOTIFY {CHANNEL}")
        return made
    finally:
        await connection.close()


async def follow(settings: ChassisSettings, request_id: int, on_progress: Callable[[Progress], None]) -> Progress:
    """Returns when the relay has done it, however long that takes: it goes on without us, too."""
    connection = await until_reachable("postgres", lambda: connect_for_long(settings))
    try:
        last: Progress | None = None
        while True:
            row = await connection.fetchrow(
                "SELECT published, stream_id, finished_at IS NOT NULL AS finished FROM republication WHERE id = $1", request_id
            )
            assert row is not None  # requests are not deleted
            progress = Progress(row["published"], row["stream_id"], row["finished"])
            if progress != last:
                on_progress(progress)
            if progress.finished:
                return progress
            last = progress
            await asyncio.sleep(_FOLLOW_EVERY_S)
    finally:
        await connection.close()
