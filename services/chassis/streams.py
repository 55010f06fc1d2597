"""Topics, the headers of a record, and how a consumer goes through them without losing or repeating an effect."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from services.chassis import metrics, telemetry
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import Connection
from services.chassis.settings import ChassisSettings
from services.chassis.telemetry import TRACEPARENT, error_name, logger

AUTH_EVENTS = "zasov.auth.events.v1"
OTP_EVENTS = "zasov.otp.events.v1"
LOCKOUT_EVENTS = "zasov.lockout.events.v1"
NOTIFIER_EVENTS = "zasov.notifier.events.v1"
EVENT_TOPICS = (AUTH_EVENTS, OTP_EVENTS, LOCKOUT_EVENTS, NOTIFIER_EVENTS)

Headers = list[tuple[str, bytes]]

# On a record that was published again from history. All else in it is as it was the first time.
REPUBLISHED = "ce_republished"


def headers_of(
    service: str, envelope: str, event_id: UUID, kind: str, stream_id: UUID, time: datetime, traceparent: str | None
) -> Headers:
    """CloudEvents 1.0, Kafka binding, binary mode; the extension partitionkey; W3C traceparent."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(event_id),
        "ce_source": f"/zasov/{service}",
        "ce_type": kind,
        "ce_time": time.isoformat(),
        "ce_subject": str(stream_id),
        "ce_partitionkey": str(stream_id),
        "ce_dataschema": f"zasov.events.v1.{envelope}",
        "content-type": "application/protobuf",
    }
    if traceparent:
        headers[TRACEPARENT] = traceparent
    return [(name, value.encode()) for name, value in headers.items()]


def header(record_headers: Sequence[tuple[str, bytes]], name: str) -> str | None:
    return next((value.decode(errors="replace") for key, value in record_headers if key == name), None)


# What a dead letter's headers say: why it is one, and which record of which topic it was.
REASON = "zasov-reason"
TOPIC = "zasov-topic"
OFFSET = "zasov-offset"
# On a dead letter that was handed out again: which one it was.
REPLAYED = "zasov-dead-letter"
_OURS = frozenset({REASON, TOPIC, OFFSET, REPLAYED})


def is_replayed(record_headers: Sequence[tuple[str, bytes]]) -> bool:
    return header(record_headers, REPLAYED) is not None


def is_republished(record_headers: Sequence[tuple[str, bytes]]) -> bool:
    return header(record_headers, REPUBLISHED) is not None


async def advance_mark(connection: Connection, consumer: str, stream_id: UUID, version: int) -> datetime | None:
    """The time of the transaction if this version is new to the consumer; None: it isn't. To be called in the transaction of
    its effect, before the effect.
    """
    now: datetime | None = await connection.fetchval(
        "INSERT INTO consumer_mark AS m (consumer, stream_id, version) VALUES ($1, $2, $3)"
        " ON CONFLICT (consumer, stream_id) DO UPDATE SET version = excluded.version WHERE m.version < excluded.version"
        " RETURNING now()",
        consumer,
        stream_id,
        version,
    )
    return now


_COMMIT_INTERVAL_S = 0.5
# How long the others wait for a partition whose handler fails, once.
_PATIENCE_S = 1.0


class Poison(Exception):
    """A record that no retry will make readable. Its text says why, in words of ours."""


Handler = Callable[[ConsumerRecord], Awaitable[None]]
# Takes a record and why it can't be read; returns when it is safe elsewhere.
DeadLetter = Callable[[ConsumerRecord, str], Awaitable[None]]


@dataclass(frozen=True)
class Consumer:
    """Reads topics as a group and hands each record of the kinds it knows to that kind's handler.

    A handler's effect must be idempotent: offsets are committed after it. A handler that fails is tried again in place,
    for an event that is skipped is an event that is lost; only Poison is passed over, to the dead-letter handler.
    """

    settings: ChassisSettings
    group: str
    handlers: Mapping[str, Mapping[str, Handler]]
    dead_letter: DeadLetter
    handler_timeout_s: float = 10.0
    # A topic of dead letters that are handed to this group again: to the handlers of the topics that they came from.
    retries: str | None = None

    async def run(self, life: Lifecycle) -> None:
        """For ever, whatever becomes of Kafka; the process is ready once the group has been joined."""
        while True:
            try:
                await self._run(life)
            except KafkaError as error:
                logger().warning("consumer starts anew", group=self.group, error=error_name(error))
                await asyncio.sleep(1)

    async def _run(self, life: Lifecycle) -> None:
        prefix = self.settings.topic_prefix
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap,
            group_id=prefix + self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=120_000,
            # Not a delay: what comes is answered at once. Only how often a fetch that found nothing is sent again.
            fetch_max_wait_ms=1000,
        )
        consumer.subscribe([prefix + topic for topic in (*self.handlers, *filter(None, [self.retries]))])
        await until_kafka_answers(consumer.start)
        try:
            if not life.was_ready:
                life.ready()
            await self._consume(consumer)
        finally:
            await consumer.stop()

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        """Partitions side by side, the records of one in order; one whose handler keeps failing holds up no other."""
        busy: dict[TopicPartition, asyncio.Task[int]] = {}
        uncommitted: dict[TopicPartition, int] = {}
        commit_at = time.monotonic()
        try:
            while True:
                await self._hand_out(consumer, busy)
                for partition in [partition for partition, work in busy.items() if work.done()]:
                    uncommitted[partition] = busy.pop(partition).result()
                # Each commit is a write of Kafka's own; what is read twice for want of one has no second effect.
                if uncommitted and time.monotonic() >= commit_at:
                    uncommitted = await self._commit(consumer, uncommitted)
                    commit_at = time.monotonic() + _COMMIT_INTERVAL_S
        finally:
            for work in busy.values():
                work.cancel()
            await asyncio.gather(*busy.values(), return_exceptions=True)

    async def _hand_out(self, consumer: AIOKafkaConsumer, busy: dict[TopicPartition, "asyncio.Task[int]"]) -> None:
        """Adds work for what has come in partitions that are not busy, and gives it some time to be done."""
        idle = consumer.assignment() - busy.keys()
        if busy and not idle:
            await asyncio.wait(busy.values(), timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            return
        batches: dict[TopicPartition, list[ConsumerRecord]] = await consumer.getmany(
            *idle, timeout_ms=int(_PATIENCE_S * 1000), max_records=200
        )
        new = {partition: asyncio.create_task(self._handle_all(records)) for partition, records in batches.items()}
        busy |= new
        if new:
            await asyncio.wait(new.values(), timeout=_PATIENCE_S)

    async def _handle_all(self, records: list[ConsumerRecord]) -> int:
        """The offset to go on from."""
        for record in records:
            await self._handle(record)
        return int(records[-1].offset) + 1

    async def _handle(self, record: ConsumerRecord) -> None:
        prefix = self.settings.topic_prefix
        is_retry = self.retries is not None and record.topic == prefix + self.retries
        topic = (header(record.headers, TOPIC) or "" if is_retry else record.topic).removeprefix(prefix)
        handler = self.handlers.get(topic, {}).get(header(record.headers, "ce_type") or "")
        if handler is None:
            if is_retry:  # somebody wanted it handled
                await self.dead_letter(record, "nothing here handles it")
            return
        await handle_until_done(record, topic, handler, self.dead_letter, self.handler_timeout_s)

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """What is left to be committed. Nothing may be dropped that is still ours: where no record follows, the group would be
        told to be behind for ever.
        """
        assigned = consumer.assignment()
        # A partition that went elsewhere is read again there, and effects are idempotent; naming it would fail the others.
        held = {partition: offset for partition, offset in offsets.items() if partition in assigned}
        if not held:
            return {}
        try:
            await consumer.commit(held)
        except KafkaError as error:
            logger().warning("offsets not committed", group=self.group, error=error_name(error))
            return held
        return {}


async def handle_until_done(
    record: ConsumerRecord, topic: str, handler: Handler, dead_letter: DeadLetter, timeout_s: float
) -> None:
    """Tries the handler until it succeeds, with a growing pause; poison goes to the dead letters."""
    pause, attempt = 0.05, 0
    while True:
        try:
            with telemetry.going_on(f"consume {header(record.headers, 'ce_type')}", header(record.headers, TRACEPARENT)):
                async with asyncio.timeout(timeout_s):
                    await handler(record)
            metrics.CONSUMED_EVENTS.labels(topic, "done").inc()
            return
        except Poison as poison:
            metrics.CONSUMED_EVENTS.labels(topic, "poison").inc()
            await dead_letter(record, str(poison))
            return
        except Exception as error:
            attempt += 1
            metrics.CONSUME_RETRIES.labels(topic).inc()
            logger().warning(
                "handler failed; trying again", topic=topic, partition=record.partition, offset=record.offset,
                error=error_name(error), attempt=attempt,
            )  # fmt: skip
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)


def whence(record: Any, record_headers: Sequence[tuple[str, bytes]], reason: str) -> Headers:
    """The headers of a record that goes to the dead letters: its own, and why, and whence it came the first time."""
    own = without_ours(record_headers)
    if is_replayed(record_headers):
        came = [(name, value) for name, value in record_headers if name in (TOPIC, OFFSET)]
    else:
        came = [(TOPIC, record.topic.encode()), (OFFSET, f"{record.partition}:{record.offset}".encode())]
    return [*own, (REASON, reason.encode()), *came]


def without_ours(record_headers: Sequence[tuple[str, bytes]]) -> Headers:
    """The headers that the record had before it was a dead letter."""
    return [(name, value) for name, value in record_headers if name not in _OURS]


async def until_kafka_is_there(settings: ChassisSettings) -> None:
    """Returns once a broker has answered."""
    client = AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        await until_kafka_answers(client.bootstrap)
    finally:
        await client.close()


async def until_kafka_answers(start: Callable[[], Awaitable[None]]) -> None:
    """Services start in any order."""
    pause = 0.1
    while True:
        try:
            await start()
            return
        except (KafkaError, OSError) as error:
            logger().warning("waiting for the other side", where="kafka", error=error_name(error))
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)
