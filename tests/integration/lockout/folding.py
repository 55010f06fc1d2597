"""The subjects' rows are nothing but their events, folded (mission row B5): what any test may check at its end."""

from typing import Any
from uuid import UUID

import asyncpg
from google.protobuf.message import Message
from zasov.events.v1.lockout_event_pb2 import LockoutEvent

from services.chassis.eventstore import payload_of, type_of
from services.lockout.domain import Subject, SubjectKey, evolve

Row = tuple[Any, ...]
_COLUMNS = "subject_id, version, owner_id, credential, stranger, epoch, strikes, blocked_at"
# These stay inside whoever the subject is.
_ALWAYS_INTERNAL = {"StrikesCleared", "EpochRaised"}


async def assert_subjects_are_their_events(connection: asyncpg.Connection) -> None:
    """Compares each column of each subject with the fold over its events; a subject without events must be as new."""
    events = await connection.fetch("SELECT * FROM event WHERE type <> 'LimitTripped' ORDER BY stream_id, version")
    streams: dict[UUID, list[asyncpg.Record]] = {}
    for event in events:
        streams.setdefault(event["stream_id"], []).append(event)
    folded = {stream_id: _fold(stream_id, rows) for stream_id, rows in streams.items()}
    held = {row["subject_id"]: tuple(row) for row in await connection.fetch(f"SELECT {_COLUMNS} FROM subject")}
    assert {subject_id: held.get(subject_id) for subject_id in folded} == folded
    for subject_id, row in held.items():
        if subject_id not in folded:
            assert (row[1], *row[5:]) == (0, 0, 0, None), "a state that no event explains"
    outbox = await connection.fetch(
        "SELECT o.stream_id, o.version, e.is_public FROM outbox o LEFT JOIN event e USING (stream_id, version)"
    )
    assert all(row["is_public"] for row in outbox), "an internal event is to be published"


def _fold(stream_id: UUID, rows: list[asyncpg.Record]) -> Row:
    payloads = [_checked(row, place) for place, row in enumerate(rows, start=1)]
    about: Any = next(payload for payload in payloads if hasattr(payload, "account_id"))
    stranger = any(not row["is_public"] for row in rows if row["type"] not in _ALWAYS_INTERNAL)
    key = SubjectKey(UUID(about.account_id), about.credential, stranger)
    assert key.subject_id == stream_id
    subject = Subject(key)
    for row, payload in zip(rows, payloads, strict=True):
        subject = evolve(subject, payload, row["occurred_at"])
    after = (subject.epoch, subject.strikes, subject.blocked_at)
    return (stream_id, len(rows), key.owner_id, key.credential, key.stranger, *after)


def _checked(row: asyncpg.Record, place: int) -> Message:
    """The fact, whose bytes must say what the columns beside them say."""
    event = LockoutEvent.FromString(row["data"])
    payload = payload_of(event)
    at = event.meta.occurred_at.ToDatetime(tzinfo=row["occurred_at"].tzinfo)
    said = (event.meta.stream_id, event.meta.version, event.meta.event_id, type_of(payload), at)
    assert said == (str(row["stream_id"]), place, str(row["event_id"]), row["type"], row["occurred_at"])
    assert row["version"] == place, "versions have no gaps"
    return payload
