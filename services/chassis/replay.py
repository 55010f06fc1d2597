"""Dead letters as an operator meets them: listed, shown, and handed to their consumer group again.

To the group and not to the topic that they came from: there every other reader would meet them a second time. A topic of the
service's own takes them, and its consumer reads that too (docs/adr/0027-dead-letters-come-back-by-a-topic-of-their-own.md).
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from zasov.events.v1.auth_event_pb2 import AuthEvent
from zasov.events.v1.lockout_event_pb2 import LockoutEvent
from zasov.events.v1.notifier_event_pb2 import NotifierEvent
from zasov.events.v1.otp_event_pb2 import OtpEvent

from services.chassis.errors import CannotStart
from services.chassis.eventstore import payload_of
from services.chassis.settings import ChassisSettings
from services.chassis.streams import (
    AUTH_EVENTS,
    LOCKOUT_EVENTS,
    NOTIFIER_EVENTS,
    OFFSET,
    OTP_EVENTS,
    REASON,
    REPLAYED,
    TOPIC,
    header,
    without_ours,
)

_ENVELOPES: Mapping[str, type[Message]] = {
    AUTH_EVENTS: AuthEvent,
    OTP_EVENTS: OtpEvent,
    LOCKOUT_EVENTS: LockoutEvent,
    NOTIFIER_EVENTS: NotifierEvent,
}
_FIRST_BYTES = 64


@dataclass(frozen=True)
class DeadLetterTopics:
    """A service's. handled: the topics whose records its consumer takes again from `retries`."""

    dead_letters: str
    retries: str
    handled: Collection[str]


@dataclass(frozen=True, order=True, slots=True)
class Place:
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


@dataclass(frozen=True)
class DeadLetter:
    """record: as Kafka has it. prefix: of the installation's topics."""

    record: ConsumerRecord
    prefix: str

    @property
    def place(self) -> Place:
        return Place(self.record.partition, self.record.offset)

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.record.timestamp / 1000, UTC)

    @property
    def topic(self) -> str:
        """That it came from; empty: nobody wrote it down."""
        return (header(self.record.headers, TOPIC) or "").removeprefix(self.prefix)

    def line(self) -> str:
        """When, whence, which kind of event, why."""
        words = [header(self.record.headers, name) or "?" for name in (OFFSET, "ce_type", REASON)]
        return _shown(f"{self.at:%Y-%m-%dT%H:%M:%SZ}  {self.topic or '?'} {words[0]}  {words[1]}  {words[2]}")

    def page(self) -> str:
        """All of it. An event that can be read is shown by its fields: none is secret (mission row B2)."""
        lines = [f"{name}: {value.decode(errors='replace')}" for name, value in self.record.headers]
        return "\n".join([*map(_shown, lines), "", *self._body()])

    def _body(self) -> list[str]:
        value = self.record.value or b""
        event = _event(self.topic, value)
        if event is not None:
            return text_format.MessageToString(event, as_utf8=False).splitlines()
        more = " …" if len(value) > _FIRST_BYTES else ""
        return [f"{len(value)} bytes that are no event of that topic: {value[:_FIRST_BYTES].hex(' ')}{more}"]


async def all_of(settings: ChassisSettings, topic: str) -> AsyncIterator[DeadLetter]:
    """What a topic holds now, partition by partition. Raises CannotStart: no Kafka, no such topic."""
    async with _reading(settings, topic) as (consumer, partitions):
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        begins: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        for partition in partitions:
            if begins[partition] == ends[partition]:
                continue
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            while await consumer.position(partition) < ends[partition]:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        if record.offset < ends[partition]:
                            yield DeadLetter(record, settings.topic_prefix)


async def one_of(settings: ChassisSettings, topic: str, place: Place) -> DeadLetter:
    """Raises CannotStart: there is none."""
    async with _reading(settings, topic) as (consumer, partitions):
        at = TopicPartition(settings.topic_prefix + topic, place.partition)
        if at in partitions:
            begin = (await consumer.beginning_offsets([at]))[at]
            end = (await consumer.end_offsets([at]))[at]
            if begin <= place.offset < end:
                consumer.assign([at])
                consumer.seek(at, place.offset)
                record = await consumer.getone()
                if record.offset == place.offset:
                    return DeadLetter(record, settings.topic_prefix)
    raise CannotStart(f"There is no dead letter {place}.")


async def replayed(settings: ChassisSettings, topics: DeadLetterTopics) -> set[str]:
    """The places of those that were handed out again, as far back as the topic of retries goes."""
    return {header(one.record.headers, REPLAYED) or "" async for one in all_of(settings, topics.retries)}


async def replay(settings: ChassisSettings, topics: DeadLetterTopics, letters: Collection[DeadLetter]) -> list[DeadLetter]:
    """Hands them out again, in their order, and answers when Kafka has them: those that nothing in this service handles are
    left, and returned.
    """
    left = [letter for letter in letters if letter.topic not in topics.handled]
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, enable_idempotence=True, acks="all")
    await _started(producer)
    try:
        for letter in letters:
            if letter in left:
                continue
            record = letter.record
            came = [(name, value) for name, value in record.headers if name in (TOPIC, OFFSET)]
            headers = [*without_ours(record.headers), *came, (REPLAYED, str(letter.place).encode())]
            await producer.send_and_wait(
                settings.topic_prefix + topics.retries, value=record.value, key=record.key, headers=headers
            )
    finally:
        await producer.stop()
    return left


@asynccontextmanager
async def _reading(settings: ChassisSettings, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """In no group: whoever looks takes nothing from anybody."""
    name = settings.topic_prefix + topic
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await _started(consumer)
    try:
        yield consumer, [TopicPartition(name, number) for number in await _partitions(settings, name)]
    finally:
        await consumer.stop()


async def _partitions(settings: ChassisSettings, name: str) -> list[int]:
    client = AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        await client.bootstrap()
        cluster = await client.fetch_all_metadata()
    finally:
        await client.close()
    numbers: set[int] | None = cluster.partitions_for_topic(name)
    if not numbers:
        raise CannotStart(f"There is no topic {name}.")
    return sorted(numbers)


async def _started(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    try:
        await client.start()
    except KafkaConnectionError:
        await client.stop()
        raise CannotStart("Kafka does not answer.") from None


def _event(topic: str, value: bytes) -> Message | None:
    """None: it is none of that topic."""
    envelope = _ENVELOPES.get(topic)
    if envelope is None:
        return None
    message = envelope()
    try:
        message.ParseFromString(value)
        payload_of(message)
    except (DecodeError, ValueError):
        return None
    return message


def _shown(text: str) -> str:
    """Whoever writes to a topic must not write to an operator's terminal."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
