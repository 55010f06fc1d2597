"""From the outbox to Kafka: everything public arrives, in order, whoever dies when."""

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import RequestTimedOutError
from zasov.events.v1.lockout_event_pb2 import LockoutEvent, StrikeRecorded, StrikesCleared

import services.chassis
from devstack.kafka import Topic, create_topics
from services.chassis import outbox_relay
from services.chassis.eventstore import Fact, stamp
from services.chassis.lifecycle import Lifecycle
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.chassis.publishing import Publisher
from services.chassis.republish import CHANNEL, Republishing
from services.chassis.settings import ChassisSettings
from tests.integration.databases import Databases
from tests.integration.kafka_records import Reader, reading
from tests.integration.waiting import until

TOPIC = "events.v1"
PARTITIONS = 4
PUBLIC, INTERNAL = Fact(StrikeRecorded(strikes=1)), Fact(StrikesCleared(), is_public=False)

pytestmark = pytest.mark.row("B7")


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.borrowed(services.chassis) as url:
        yield url


@pytest.fixture
async def settings(url: str, kafka_bootstrap: str, topic_prefix: str) -> ChassisSettings:
    await create_topics(kafka_bootstrap, (Topic(topic_prefix + TOPIC, PARTITIONS),))
    return ChassisSettings(postgres_url=url, kafka_bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)


@pytest.fixture
async def sql(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def kafka(settings: ChassisSettings) -> AsyncIterator[Reader]:
    async with reading(settings.kafka_bootstrap, settings.topic_prefix + TOPIC, PARTITIONS) as reader:
        yield reader


@asynccontextmanager
async def relaying(settings: ChassisSettings) -> AsyncIterator[Lifecycle]:
    """A relay of its own, as the role runs it; leaving the block stops it as SIGTERM would."""
    life = Lifecycle()
    task = asyncio.create_task(outbox_relay.relay(settings, life, service="test", topic=TOPIC, envelope="LockoutEvent"))
    try:
        yield life
    finally:
        life.stop()
        await asyncio.gather(task, return_exceptions=True)
        await life.cancel_background()


async def append(connection: asyncpg.Connection, stream_id: UUID, after: int, facts: Sequence[Fact]) -> None:
    events = stamp(LockoutEvent, stream_id, after, facts, datetime.now(UTC))
    await connection.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())


def versions_of(records: Sequence[ConsumerRecord]) -> dict[UUID, list[int]]:
    """Per stream, in the order in which Kafka has them."""
    found: defaultdict[UUID, list[int]] = defaultdict(list)
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        meta = LockoutEvent.FromString(record.value).meta
        found[UUID(meta.stream_id)].append(meta.version)
    return dict(found)


def as_consumers_apply(versions: Sequence[int]) -> list[int]:
    """Versions at or below the highest one seen are skipped (docs/architecture.md, rule 3)."""
    applied: list[int] = []
    for version in versions:
        if not applied or version > applied[-1]:
            applied.append(version)
    return applied


async def keeps_sending(sql: asyncpg.Connection, count: int) -> UUID:
    """Events of one stream, each with its wake-up, one after the other at the speed of a busy service."""
    stream_id = uuid4()
    for version in range(count):
        await append(sql, stream_id, version, [PUBLIC])
        await sql.execute(f"NOTIFY {CHANNEL}")
        await asyncio.sleep(0.03)
    return stream_id


async def outbox_is_empty(sql: asyncpg.Connection) -> bool:
    return not await sql.fetchval("SELECT count(*) FROM outbox")


async def waiting_for_a_lock(sql: asyncpg.Connection, query: str) -> int | None:
    pid: int | None = await sql.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1",
        query,
    )
    return pid


async def test_every_public_event_arrives_in_order_and_no_internal_one(
    settings: ChassisSettings, sql: asyncpg.Connection, kafka: Reader
) -> None:
    streams = [uuid4() for _ in range(40)]
    async with relaying(settings):
        for first in (0, 4, 8):
            for stream_id in streams:
                await append(sql, stream_id, first, [PUBLIC, INTERNAL, PUBLIC, PUBLIC])
        records = await kafka.until(lambda records: len(records) >= 40 * 9)
        await until("the outbox is empty", lambda: outbox_is_empty(sql))
    assert versions_of(records) == {stream_id: [1, 3, 4, 5, 7, 8, 9, 11, 12] for stream_id in streams}
    stored = await sql.fetch("SELECT data FROM event WHERE is_public")
    assert sorted(record.value for record in records) == sorted(row["data"] for row in stored), "the very bytes"


async def test_a_record_says_in_its_headers_what_it_is(
    settings: ChassisSettings, sql: asyncpg.Connection, kafka: Reader
) -> None:
    stream_id = uuid4()
    async with relaying(settings):
        await append(sql, stream_id, 0, [PUBLIC])
        (record,) = await kafka.until(len)
    row = await sql.fetchrow("SELECT * FROM event")
    assert row is not None
    assert record.key == str(stream_id).encode()
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": str(row["event_id"]).encode(),
        "ce_source": b"/zasov/test",
        "ce_type": b"StrikeRecorded",
        "ce_time": row["occurred_at"].isoformat().encode(),
        "ce_subject": str(stream_id).encode(),
        "ce_partitionkey": str(stream_id).encode(),
        "ce_dataschema": b"zasov.events.v1.LockoutEvent",
        "content-type": b"application/protobuf",
    }


async def cancel(relay: Lifecycle, sql: asyncpg.Connection, pid: int) -> None:
    await relay.cancel_background()


async def cut_off(relay: Lifecycle, sql: asyncpg.Connection, pid: int) -> None:
    await sql.execute("SELECT pg_terminate_backend($1)", pid)


@pytest.mark.parametrize("kill", [cancel, cut_off])
async def test_a_relay_that_dies_between_producing_and_deleting_repeats_and_loses_nothing(
    settings: ChassisSettings,
    url: str,
    sql: asyncpg.Connection,
    kafka: Reader,
    kill: Callable[[Lifecycle, asyncpg.Connection, int], Awaitable[None]],
) -> None:
    streams = [uuid4() for _ in range(10)]
    for stream_id in streams:
        await append(sql, stream_id, 0, [PUBLIC] * 5)
    holder = await asyncpg.connect(url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM outbox FOR UPDATE")
    async with relaying(settings) as relay:
        await kafka.until(lambda records: len(records) >= 50)
        pid = await until("the deletion waits", lambda: waiting_for_a_lock(sql, "DELETE FROM outbox%"))
        await kill(relay, sql, pid)
        for stream_id in streams:
            await append(sql, stream_id, 5, [PUBLIC] * 2)
        await transaction.rollback()
        await holder.close()
        async with relaying(settings):
            await until("the outbox is empty", lambda: outbox_is_empty(sql))
            records = await kafka.until(lambda records: all(7 in versions_of(records)[one] for one in streams))
    versions = versions_of(records)
    assert set(versions) == set(streams)
    for seen in versions.values():
        assert as_consumers_apply(seen) == [1, 2, 3, 4, 5, 6, 7]
        # A backend whose client has gone may still carry the deletion out; one that was terminated cannot.
        repeated = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7]
        assert seen == repeated or (kill is cancel and seen == [1, 2, 3, 4, 5, 6, 7])


class DeafBroker:
    """A producer whose records are never acknowledged."""

    async def send(self, *_: object, **__: object) -> asyncio.Future[None]:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_exception(RequestTimedOutError())
        return sent


async def test_what_kafka_has_not_acknowledged_stays_in_the_outbox(sql: asyncpg.Connection) -> None:
    await append(sql, STREAM, 0, [PUBLIC] * 3)
    publisher = Publisher(cast(Any, DeafBroker()), "test", TOPIC, "LockoutEvent")
    with pytest.raises(RequestTimedOutError):
        await outbox_relay._publish_batch(sql, publisher, Republishing(sql, publisher))
    assert await sql.fetchval("SELECT count(*) FROM outbox") == 3
    await asyncio.sleep(0)


async def relay_holding_the_lock(sql: asyncpg.Connection) -> int | None:
    pid: int | None = await sql.fetchval(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return pid


async def test_of_two_relays_one_is_active_and_the_other_takes_over(
    settings: ChassisSettings, sql: asyncpg.Connection, kafka: Reader
) -> None:
    stream_id = uuid4()
    async with relaying(settings), relaying(settings):
        first = await until("one has the lock", lambda: relay_holding_the_lock(sql))
        await append(sql, stream_id, 0, [PUBLIC] * 20)
        await kafka.until(lambda records: len(records) >= 20)
        await until("the outbox is empty", lambda: outbox_is_empty(sql))
        await sql.execute("SELECT pg_terminate_backend($1)", first)
        await append(sql, stream_id, 20, [PUBLIC] * 20)
        records = await kafka.until(lambda records: len(records) >= 40)
        await until("the outbox is empty", lambda: outbox_is_empty(sql))
        second = await until("one has the lock", lambda: relay_holding_the_lock(sql))
    assert second != first
    assert versions_of(records) == {stream_id: list(range(1, 41))}, "nothing twice: only one of them sent"


async def test_an_id_that_commits_after_a_higher_one_is_not_skipped(
    settings: ChassisSettings, url: str, sql: asyncpg.Connection, kafka: Reader
) -> None:
    slow = await asyncpg.connect(url)
    early, late = uuid4(), uuid4()
    async with relaying(settings):
        transaction = slow.transaction()
        await transaction.start()
        await append(slow, early, 0, [PUBLIC])
        await append(sql, late, 0, [PUBLIC])
        await kafka.until(lambda records: late in versions_of(records))
        await until("the outbox looks empty", lambda: outbox_is_empty(sql))
        await transaction.commit()
        records = await kafka.until(lambda records: early in versions_of(records))
    await slow.close()
    assert versions_of(records) == {early: [1], late: [1]}


async def test_many_committers_side_by_side_lose_nothing(
    settings: ChassisSettings, url: str, sql: asyncpg.Connection, kafka: Reader
) -> None:
    """Each in transactions of different lengths, so that ids commit in any order."""

    async def commit_often(stream_id: UUID, hold_s: float) -> None:
        connection = await asyncpg.connect(url)
        for version in range(10):
            async with connection.transaction():
                await append(connection, stream_id, version, [PUBLIC])
                await connection.execute("SELECT pg_sleep($1)", hold_s)
        await connection.close()

    streams = [uuid4() for _ in range(12)]
    async with relaying(settings):
        await asyncio.gather(*(commit_often(stream_id, n % 4 * 0.004) for n, stream_id in enumerate(streams)))
        records = await kafka.until(lambda records: len(records) >= 120)
        await until("the outbox is empty", lambda: outbox_is_empty(sql))
    assert versions_of(records) == {stream_id: list(range(1, 11)) for stream_id in streams}


async def test_a_wake_up_brings_an_event_to_kafka_in_milliseconds(
    settings: ChassisSettings, kafka: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    async with relaying(settings), open_database(settings) as database:
        waker = OutboxWaker(database)
        for version in range(60):
            async with waker.transaction() as connection:
                await append(connection, STREAM, version, [PUBLIC])  # type: ignore[arg-type]
            committed = time.perf_counter()
            await kafka.until(lambda records, wanted=version + 1: len(records) >= wanted)  # type: ignore[misc]
            took.append(time.perf_counter() - committed)
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "outbox waker"))
    warm = sorted(took[10:])
    with capsys.disabled():
        print(f"\ncommit to a consumer: p50 {statistics.median(warm) * 1000:.1f} ms, p90 {warm[45] * 1000:.1f} ms")


STREAM = UUID(int=4)


async def test_under_load_more_goes_together(
    settings: ChassisSettings, sql: asyncpg.Connection, kafka: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace_s, published = 0.25, list[int]()
    publish = Publisher.publish

    async def counted(self: Publisher, rows: Sequence[Any]) -> None:
        published.extend([len(rows)] if rows else [])
        await publish(self, rows)

    monkeypatch.setattr(Publisher, "publish", counted)
    async with relaying(settings.model_copy(update={"relay_pace_s": pace_s})):
        began = time.monotonic()
        stream_id = await keeps_sending(sql, 50)
        await until("everything is published", lambda: outbox_is_empty(sql))
        took = time.monotonic() - began
    records = await kafka.until(lambda records: len(records) >= 50)
    assert versions_of(records) == {stream_id: list(range(1, 51))}
    assert len(published) <= outbox_relay.LOOKS_AT_ONCE + took / pace_s + 1
