"""From the outbox to Kafka: the only way in which a business event is published (docs/architecture.md, rule 2).

The relay holds an advisory lock, so one is active at a time. It takes rows in order of id, produces the public events, waits
for the acknowledgements, then deletes the rows. One that was paused and comes back beside its successor can only repeat old
versions in order, which consumers skip. In between it publishes history again, when an operator has asked for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
from aiokafka.errors import KafkaError

from services.chassis import metrics
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import AWAY, Connection, Database, connect_directly, until_reachable
from services.chassis.publishing import RECORD, Publisher, new_producer
from services.chassis.republish import CHANNEL, Republishing
from services.chassis.settings import ChassisSettings
from services.chassis.streams import until_kafka_answers
from services.chassis.telemetry import error_name, logger

_BATCH = 500
LOOKS_AT_ONCE = 5
# Only how long a lost wake-up can go unnoticed; the wake-up itself takes milliseconds.
_FALLBACK_POLL_S = 1.0
_TAKE = f"""
    SELECT o.id, {RECORD}, e.is_public, EXISTS (SELECT FROM republication WHERE finished_at IS NULL) AS is_history_wanted
    FROM outbox o JOIN event e USING (stream_id, version)
    ORDER BY o.id LIMIT $1
"""  # noqa: S608


class OutboxWaker:
    """Tells the relay that there is something to publish, after the commit and apart from it.

    A NOTIFY within the transaction would take a database-wide lock at its commit. Here a process sends one at a time, on a
    transaction of its own that writes nothing; wake-ups that come meanwhile are one. A lost one costs a second at most.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction whose events the relay is told of once it is committed."""
        async with self._database.transaction() as connection:
            yield connection
        self.wake()

    def wake(self) -> None:
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="outbox waker")

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                await self._database.execute(f"NOTIFY {CHANNEL}")
            except AWAY as error:
                logger().warning("relay not woken", error=error_name(error))


class _Pace:
    """A few looks at once, then one every so many seconds: what comes at a person's speed goes at once, and under load more
    goes together, which is what it costs all who read.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = 0.0

    async def keep(self) -> None:
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now) + self._seconds
        if (early := self._due - now - LOOKS_AT_ONCE * self._seconds) > 0:
            await asyncio.sleep(early)


async def relay(settings: ChassisSettings, life: Lifecycle, *, service: str, topic: str, envelope: str) -> None:
    """The role. `envelope` names the topic's message type."""
    relaying = life.keep_running(_relay_for_ever(settings, life, service, settings.topic_prefix + topic, envelope), "relay")
    await life.stopping()
    relaying.cancel()
    # Cancelled a second time, by the end of the process, it would leave its producer open.
    await asyncio.gather(relaying, return_exceptions=True)


async def _relay_for_ever(settings: ChassisSettings, life: Lifecycle, service: str, topic: str, envelope: str) -> None:
    while True:
        connection = await until_reachable("postgres", lambda: connect_directly(settings))
        try:
            await _relay_while_connected(connection, settings, life, service, topic, envelope)
        except (*AWAY, KafkaError) as error:
            metrics.RELAY_FAILURES.inc()
            logger().warning("relay starts anew", error=error_name(error))
            await asyncio.sleep(0.1)
        finally:
            metrics.RELAY_LEADER.set(0)
            connection.terminate()


async def _relay_while_connected(
    connection: "asyncpg.Connection[asyncpg.Record]",
    settings: ChassisSettings,
    life: Lifecycle,
    service: str,
    topic: str,
    envelope: str,
) -> None:
    if not life.is_ready:
        life.ready()  # a relay that waits for its turn is in order
    await _become_the_only_one(connection, service)
    metrics.RELAY_LEADER.set(1)
    woken = asyncio.Event()
    connection.add_termination_listener(lambda _: woken.set())
    await connection.add_listener(CHANNEL, lambda *_: woken.set())
    producer = new_producer(settings)
    await until_kafka_answers(producer.start)
    publisher = Publisher(producer, service, topic, envelope)
    republishing = Republishing(connection, publisher)
    pace = _Pace(settings.relay_pace_s)
    try:
        while True:
            woken.clear()
            taken = await _publish_batch(connection, publisher, republishing)
            if not taken:
                await republishing.look()
            republished = await republishing.publish_batch()
            # What was committed after the rows were read has sent its own wake-up: a second look would find nothing.
            if taken < _BATCH and not republished:
                await _or_after(_FALLBACK_POLL_S, woken.wait)
                await pace.keep()
    finally:
        await producer.stop()


async def _become_the_only_one(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> None:
    """The lock goes with the connection: whoever dies makes room."""
    key = f"zasov outbox {service}"
    while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", key):  # noqa: ASYNC110
        await asyncio.sleep(0.5)


async def _publish_batch(
    connection: "asyncpg.Connection[asyncpg.Record]", publisher: Publisher, republishing: Republishing
) -> int:
    """Returns the number taken: internal events only leave the outbox.

    Raises KafkaError with nothing deleted: the batch is then produced again, in order.
    """
    rows = await connection.fetch(_TAKE, _BATCH)
    if not rows:
        metrics.OUTBOX_OLDEST.set(0)
        return 0
    metrics.OUTBOX_OLDEST.set(_age_s(rows[0]))
    public = [row for row in rows if row["is_public"]]
    # Asked with the rows: what is new of a stream must not overtake what is to be published again of it.
    if rows[0]["is_history_wanted"]:
        await republishing.look()
    await republishing.catch_up(public)
    await publisher.publish(public)
    await connection.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])
    metrics.RELAYED_EVENTS.inc(len(public))
    for row in public:
        metrics.RELAY_DELAY.observe(_age_s(row))
    return len(rows)


def _age_s(row: asyncpg.Record) -> float:
    occurred_at: datetime = row["occurred_at"]
    return max(0.0, (datetime.now(UTC) - occurred_at).total_seconds())


async def _or_after(seconds: float, wait: Callable[[], Awaitable[object]]) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wait()
    except TimeoutError:
        pass
