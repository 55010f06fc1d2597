"""Events, as every service's store holds them and every consumer meets them.

A stream is folded by a pure `evolve`, extended by a pure `decide`, and appended to under the lock of its state row by a
function in the service's own SQL, which compares the version and calls `insert_events`. On a conflict the caller reloads
and decides again.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from google.protobuf.message import DecodeError, Message
from zasov.events.v1.meta_pb2 import EventMeta, Origin

from services.chassis.telemetry import current_traceparent


class Conflict(Exception):
    """The stream has moved on since it was read: reload and decide again."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A decided event, before it has a place in a stream.

    payload: a message of the envelope's oneof. secret: sealed bytes that stay in the store. is_public: goes to Kafka.
    """

    payload: Message
    secret: bytes | None = None
    is_public: bool = True


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """Consecutive events of one stream, as the columns that `insert_events` takes."""

    stream_id: UUID
    first_version: int
    ids: list[UUID]
    types: list[str]
    times: list[datetime]
    datas: list[bytes]
    secrets: list[bytes | None]
    publics: list[bool]

    @property
    def last_version(self) -> int:
        return self.first_version + len(self.ids) - 1

    def arguments(self) -> tuple[object, ...]:
        """For `insert_events($1 … $9)`."""
        return (
            self.stream_id, self.first_version, self.ids, self.types, self.times, self.datas, self.secrets, self.publics,
            current_traceparent(),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An event as a fold over history meets it."""

    stream_id: UUID
    version: int
    occurred_at: datetime
    payload: Message
    secret: bytes | None
    is_public: bool

    def as_fact(self) -> Fact:
        return Fact(self.payload, self.secret, self.is_public)


def read_back(envelope: type[Message], row: asyncpg.Record, version: int) -> PastEvent:
    """The event in a row of the store. Raises ValueError: it isn't that version, or its bytes disagree with the columns."""
    try:
        message = envelope.FromString(row["data"])
    except DecodeError:
        raise ValueError("not readable") from None
    meta: EventMeta = message.meta  # type: ignore[attr-defined]
    payload = payload_of(message)
    said = (meta.stream_id, meta.version, meta.event_id, type_of(payload), meta.occurred_at.ToDatetime(tzinfo=UTC))
    stored = (str(row["stream_id"]), row["version"], str(row["event_id"]), row["type"], row["occurred_at"])
    if said != stored or row["version"] != version:
        raise ValueError("the bytes say another thing than the columns, or a version is missing")
    return PastEvent(row["stream_id"], version, row["occurred_at"], payload, row["secret"], row["is_public"])


def stamp(
    envelope: type[Message], stream_id: UUID, version: int, facts: Sequence[Fact], now: datetime, origin: Origin | None = None
) -> StoredEvents:
    """Gives facts their ids and their places after `version`, in the envelope of the service's topic."""
    events = StoredEvents(stream_id, version + 1, [], [], [], [], [], [])
    for offset, fact in enumerate(facts):
        event_id = _event_id(now, offset)
        meta = EventMeta(event_id=str(event_id), stream_id=str(stream_id), version=version + 1 + offset, origin=origin)
        meta.occurred_at.FromDatetime(now)
        kind = type_of(fact.payload)
        message = envelope(meta=meta, **{_field_of(envelope, kind): fact.payload})
        events.ids.append(event_id)
        events.types.append(kind)
        events.times.append(now)
        # Deterministic, so that the same history is the same bytes wherever it is written.
        events.datas.append(message.SerializeToString(deterministic=True))
        events.secrets.append(fact.secret)
        events.publics.append(fact.is_public)
    return events


def _event_id(now: datetime, place: int) -> UUID:
    """UUIDv7 (RFC 9562, 5.7) of the database's time: readers ask the id how old an event is (rule 5). Those that are written
    together are in order of their places.
    """
    milliseconds = int(now.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | min(place, 0xFFF) << 64 | 0b10 << 62 | secrets.randbits(62))


def type_of(payload: Message) -> str:
    """The name of an event: LoginFailed, OtpIssued …"""
    return type(payload).__name__


def payload_of(envelope: Message) -> Message:
    """The fact in an envelope. Raises ValueError for an event of a kind this reader doesn't know."""
    name = envelope.WhichOneof("event")
    if name is None:
        raise ValueError("an event of an unknown kind")
    return getattr(envelope, name)  # type: ignore[no-any-return]


def _field_of(envelope: type[Message], kind: str) -> str:
    for field in envelope.DESCRIPTOR.oneofs_by_name["event"].fields:
        if field.message_type is not None and field.message_type.name == kind:
            return field.name
    raise TypeError(f"{kind} is not an event of {envelope.DESCRIPTOR.name}")
