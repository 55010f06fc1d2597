"""Kafka is filled again from the event store, by the relay, beside what is new (mission row B5)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

import services.chassis
from devstack.kafka import Topic, create_topics
from services.chassis import republish
from services.chassis.settings import ChassisSettings
from services.chassis.streams import REPUBLISHED
from tests.integration.chassis.test_chassis_relay import (
    INTERNAL,
    PARTITIONS,
    PUBLIC,
    TOPIC,
    append,
    as_consumers_apply,
    outbox_is_empty,
    relay_holding_the_lock,
    relaying,
    versions_of,
)
from tests.integration.databases import Databases
from tests.integration.kafka_records import reading
from tests.integration.waiting import until

pytestmark = pytest.mark.row("B5")


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
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ends within a stream, between two streams, everywhere."""
    monkeypatch.setattr(republish, "_BATCH", 3)


async def lose_the_topic(settings: ChassisSettings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    await admin.delete_topics([settings.topic_prefix + TOPIC])

    async def gone() -> bool:
        return settings.topic_prefix + TOPIC not in await admin.list_topics()

    await until("the topic is gone", gone)
    await admin.close()
    await create_topics(settings.kafka_bootstrap, (Topic(settings.topic_prefix + TOPIC, PARTITIONS),))


async def records_of(settings: ChassisSettings, count: int) -> list[ConsumerRecord]:
    """All that the topic holds, at least so many."""
    async with reading(settings.kafka_bootstrap, settings.topic_prefix + TOPIC, PARTITIONS) as reader:
        await reader.until(lambda records: len(records) >= count)
        await asyncio.sleep(0.3)
        return await reader.until(lambda records: True)


async def published_before(sql: asyncpg.Connection, streams: Sequence[UUID], events: int) -> None:
    """History that the relay has done with long ago."""
    for stream_id in streams:
        await append(sql, stream_id, 0, [PUBLIC] * events)
    await sql.execute("DELETE FROM outbox")


def as_it_was(records: Sequence[ConsumerRecord]) -> dict[bytes, list[Any]]:
    """By key: values and headers in Kafka's order."""
    found: defaultdict[bytes, list[Any]] = defaultdict(list)
    for record in sorted(records, key=lambda one: (one.partition, one.offset)):
        found[record.key].append((record.value, record.headers))
    return dict(found)


async def test_what_a_topic_lost_comes_back_as_it_was(settings: ChassisSettings, sql: asyncpg.Connection) -> None:
    streams = [uuid4() for _ in range(30)]
    traced = "INSERT INTO event SELECT stream_id, 9, gen_random_uuid(), type, occurred_at, data, null, true, '00-aa-bb-01' FROM"
    async with relaying(settings):
        for stream_id in streams:
            await append(sql, stream_id, 0, [PUBLIC, INTERNAL, PUBLIC, PUBLIC])
        async with sql.transaction():
            await sql.execute(f"{traced} event WHERE version = 1")
            await sql.execute("INSERT INTO outbox (stream_id, version) SELECT stream_id, 9 FROM event WHERE version = 9")
        before = as_it_was(await records_of(settings, 120))
        await until("the outbox is empty", lambda: outbox_is_empty(sql))
    assert all(any(name == "traceparent" for name, _ in rows[-1][1]) for rows in before.values())
    await lose_the_topic(settings)
    request = await republish.request(settings)
    async with relaying(settings):
        done = await asyncio.wait_for(republish.follow(settings, request, lambda progress: None), 20)
        after = as_it_was(await records_of(settings, 120))
    assert done.published == 120
    again = (REPUBLISHED, b"true")
    assert after == {key: [(value, (*headers, again)) for value, headers in rows] for key, rows in before.items()}, (
        "the same bytes, keys and headers in the same order, but for the one that says so; and no internal event"
    )


async def test_what_is_new_of_a_stream_never_comes_before_what_is_old_of_it(
    settings: ChassisSettings, sql: asyncpg.Connection, small_steps: None
) -> None:
    """The walk goes by stream ids; what happens meanwhile happens everywhere."""
    streams = sorted(uuid4() for _ in range(24))
    await published_before(sql, streams, 7)
    request = await republish.request(settings)
    for stream_id in reversed(streams):
        await append(sql, stream_id, 7, [PUBLIC])
    async with relaying(settings):
        for version in range(8, 12):
            for stream_id in reversed(streams):
                await append(sql, stream_id, version, [PUBLIC])
        await asyncio.wait_for(republish.follow(settings, request, lambda progress: None), 30)
        await until("the outbox is empty", lambda: outbox_is_empty(sql))
        records = await records_of(settings, 24 * 12)
    versions = versions_of(records)
    assert {stream_id: as_consumers_apply(seen) for stream_id, seen in versions.items()} == {
        stream_id: list(range(1, 13)) for stream_id in streams
    }, "consumers skip what they have seen, so whatever comes too late is lost to them"


class Recorder:
    """Stands for the publisher: what it was given, in order."""

    def __init__(self) -> None:
        self.versions: list[int] = []

    async def publish(self, rows: Sequence[asyncpg.Record], *, again: bool = False) -> None:
        self.versions += [row["version"] for row in rows]


async def test_a_stream_that_the_walk_stands_in_is_in_order_too(
    settings: ChassisSettings, sql: asyncpg.Connection, small_steps: None
) -> None:
    """Something new of it comes between two steps: the rest of its past must come first."""
    stream_id = uuid4()
    await published_before(sql, [stream_id], 10)
    await republish.request(settings)
    recorder = Recorder()
    republishing = republish.Republishing(sql, recorder)  # type: ignore[arg-type]
    await republishing.look()
    assert await republishing.publish_batch()
    assert recorder.versions == [1, 2, 3]
    await append(sql, stream_id, 10, [PUBLIC])
    new = await sql.fetch("SELECT e.* FROM outbox o JOIN event e USING (stream_id, version)")
    await republishing.catch_up(new)
    await recorder.publish(new)
    while await republishing.publish_batch():
        pass
    assert as_consumers_apply(recorder.versions) == list(range(1, 12))


async def test_a_relay_that_dies_on_the_way_is_followed_by_one_that_goes_on(
    settings: ChassisSettings, sql: asyncpg.Connection, small_steps: None
) -> None:
    streams = [uuid4() for _ in range(200)]
    await published_before(sql, streams, 3)
    request = await republish.request(settings)

    async def on_its_way() -> bool:
        return bool(await sql.fetchval("SELECT published > 30 FROM republication"))

    async with relaying(settings), relaying(settings):
        await until("it is on its way", on_its_way)
        await sql.execute("SELECT pg_terminate_backend($1)", await relay_holding_the_lock(sql))
        done = await asyncio.wait_for(republish.follow(settings, request, lambda progress: None), 30)
        records = await records_of(settings, 600)
    assert 600 <= done.published <= 606, "it did not begin anew"
    assert {one: as_consumers_apply(seen) for one, seen in versions_of(records).items()} == {one: [1, 2, 3] for one in streams}


async def test_only_what_happened_since_a_time_is_published(settings: ChassisSettings, sql: asyncpg.Connection) -> None:
    streams = [uuid4() for _ in range(5)]
    await published_before(sql, streams, 2)
    since = datetime.now(UTC)
    for stream_id in streams:
        await append(sql, stream_id, 2, [PUBLIC])
    await sql.execute("DELETE FROM outbox")
    request = await republish.request(settings, since)
    # Of a stream that the walk has not come to when something new of it is published, too.
    await append(sql, max(streams), 3, [PUBLIC])
    async with relaying(settings):
        await republish.follow(settings, request, lambda progress: None)
        records = await records_of(settings, 6)
    last = max(streams)
    assert versions_of(records) == {stream_id: [3, 4] if stream_id == last else [3] for stream_id in streams}


async def test_only_streams_from_an_id_on_are_published(settings: ChassisSettings, sql: asyncpg.Connection) -> None:
    streams = sorted(uuid4() for _ in range(6))
    await published_before(sql, streams, 2)
    request = await republish.request(settings, streams[3])
    seen: list[republish.Progress] = []
    async with relaying(settings):
        await republish.follow(settings, request, seen.append)
        records = await records_of(settings, 6)
    assert versions_of(records) == {stream_id: [1, 2] for stream_id in streams[3:]}
    assert (seen[-1].finished, seen[-1].published) == (True, 6)


async def test_requests_are_done_one_after_the_other_and_once(settings: ChassisSettings, sql: asyncpg.Connection) -> None:
    await published_before(sql, [uuid4()], 2)
    requests = [await republish.request(settings) for _ in range(2)]
    async with relaying(settings):
        await asyncio.gather(*(republish.follow(settings, one, lambda progress: None) for one in requests))
        records = await records_of(settings, 4)
    async with relaying(settings):
        await append(sql, uuid4(), 0, [PUBLIC])
        records = await records_of(settings, 5)
    assert sorted(versions_of(records).values()) == [[1], [1, 2, 1, 2]]
    assert datetime.now(UTC) - (await sql.fetchval("SELECT max(finished_at) FROM republication")) < timedelta(minutes=1)
