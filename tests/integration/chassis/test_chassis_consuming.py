"""How a consumer goes through a topic: nothing lost, no effect twice, poison put aside."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

import services.chassis
from devstack.kafka import Topic, create_topics
from services.chassis.lifecycle import Lifecycle
from services.chassis.settings import ChassisSettings
from services.chassis.streams import Consumer, Poison, advance_mark
from tests.integration.databases import Databases
from tests.integration.waiting import until

pytestmark = pytest.mark.row("B7")

TOPIC = "events.v1"
STREAM = UUID(int=3)


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    with databases.borrowed(services.chassis) as url:
        yield url


@pytest.fixture
async def sql(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def test_a_version_is_new_once_and_an_older_one_never(sql: asyncpg.Connection) -> None:
    seen = [await advance_mark(sql, "one", STREAM, version) for version in (1, 1, 4, 2, 4, 5)]
    assert [at is not None for at in seen] == [True, False, True, False, False, True]
    assert await advance_mark(sql, "another", STREAM, 1)
    assert await advance_mark(sql, "one", uuid4(), 1)


async def test_a_mark_goes_with_the_effect_that_failed(sql: asyncpg.Connection) -> None:
    transaction = sql.transaction()
    await transaction.start()
    assert await advance_mark(sql, "one", STREAM, 1)
    await transaction.rollback()
    assert await advance_mark(sql, "one", STREAM, 1)


async def test_of_two_at_once_one_gets_the_version(url: str, sql: asyncpg.Connection) -> None:
    other = await asyncpg.connect(url)

    async def take(connection: asyncpg.Connection) -> bool:
        async with connection.transaction():
            return await advance_mark(connection, "one", STREAM, 7) is not None

    assert sorted(await asyncio.gather(take(sql), take(other))) == [False, True]
    await other.close()


class Tape:
    """What a consumer did, and what it is to fail at."""

    def __init__(self) -> None:
        self.done: list[bytes] = []
        self.buried: list[bytes] = []
        self.failures = {b"flaky": 2}

    async def handle(self, record: ConsumerRecord) -> None:
        if record.value == b"poison":
            raise Poison("poison")
        if self.failures.get(record.value, 0):
            self.failures[record.value] -= 1
            raise OSError
        self.done.append(record.value)

    async def bury(self, record: ConsumerRecord, reason: str) -> None:
        self.buried.append(record.value)

    async def has(self, count: int) -> bool:
        return len(self.done) >= count

    async def saw(self, value: bytes) -> bool:
        return value in self.done


@asynccontextmanager
async def consuming(settings: ChassisSettings, tape: Tape) -> AsyncIterator[None]:
    consumer = Consumer(settings, "group", {TOPIC: {"Known": tape.handle}}, tape.bury)
    task = asyncio.create_task(consumer.run(Lifecycle()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_handler_that_keeps_failing_holds_up_no_other_partition(kafka_bootstrap: str, topic_prefix: str) -> None:
    settings = ChassisSettings(postgres_url="x", kafka_bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    await create_topics(kafka_bootstrap, (Topic(topic_prefix + TOPIC, 2),))
    tape = Tape()
    tape.failures[b"stuck"] = 10**9
    async with producing(kafka_bootstrap) as producer, consuming(settings, tape):

        async def put(partition: int, value: bytes) -> None:
            headers = [("ce_type", b"Known")]
            await producer.send_and_wait(topic_prefix + TOPIC, value, partition=partition, headers=headers)

        for value in (b"stuck", b"after it"):
            await put(0, value)
        for number, value in enumerate((b"1", b"2", b"3"), start=1):
            await put(1, value)
            await until("the other partition goes on", lambda number=number: tape.has(number))  # type: ignore[misc]
        assert tape.done == [b"1", b"2", b"3"]
        tape.failures[b"stuck"] = 0
        await until("the stuck one goes on where it was", lambda: tape.has(5))
    assert tape.done[3:] == [b"stuck", b"after it"]
    successor = Tape()
    async with producing(kafka_bootstrap) as producer, consuming(settings, successor):
        await producer.send_and_wait(topic_prefix + TOPIC, b"4", partition=0, headers=[("ce_type", b"Known")])
        await until("the successor goes on", lambda: successor.saw(b"4"))


@asynccontextmanager
async def producing(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def test_failures_are_tried_again_in_place_poison_is_put_aside_and_a_successor_goes_on(
    kafka_bootstrap: str, topic_prefix: str
) -> None:
    settings = ChassisSettings(postgres_url="x", kafka_bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    await create_topics(kafka_bootstrap, (Topic(topic_prefix + TOPIC, 1),))
    tape, successor = Tape(), Tape()

    async def put(kind: str, *values: bytes) -> None:
        for value in values:
            await producer.send_and_wait(topic_prefix + TOPIC, value, headers=[("ce_type", kind.encode())])

    async with producing(kafka_bootstrap) as producer:
        await put("Unknown", b"of no interest")
        await put("Known", b"1", b"flaky", b"poison", b"2")
        async with consuming(settings, tape):
            await until("all are handled", lambda: tape.has(3))
        async with consuming(settings, successor):
            await put("Known", b"3")
            await until("the successor goes on", lambda: successor.saw(b"3"))
    assert (tape.done, tape.buried) == ([b"1", b"flaky", b"2"], [b"poison"])
    assert successor.done[-1:] == [b"3"]
    # Offsets are committed after the effects: a few may come again, none may be missing.
    assert set(successor.done) <= {b"1", b"flaky", b"2", b"3"}
