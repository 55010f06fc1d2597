"""What has become of messages, for who asks: states and times. Nothing here is claimed, locked or changed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from google.protobuf.message import Message as Payload
from zasov.events.v1.notifier_event_pb2 import (
    MessageAmbiguous,
    MessageDelivered,
    MessageFailed,
    MessageSubmitted,
    NotifierEvent,
)

from services.chassis.eventstore import payload_of
from services.chassis.postgres import Database
from services.notifier.domain import ChannelId, State, channel_of

_LATEST = UUID(int=(1 << 128) - 1)
_VIEW = (
    "SELECT m.notification_id, m.cause_event_id, m.cause_stream_id, m.kind, m.channel, m.state, m.attempt, m.created_at,"
    " m.deadline, (SELECT occurred_at FROM event e WHERE e.stream_id = m.notification_id ORDER BY version DESC LIMIT 1)"
    " AS changed_at FROM message m"
)
_ARRIVED_BY = {ChannelId.SMS: MessageDelivered.DESCRIPTOR.name, ChannelId.EMAIL: MessageSubmitted.DESCRIPTOR.name}
# Ids grow with time (UUIDv7): a range of times is a range of the primary key.
_RECENT = """
    WITH asked AS MATERIALIZED (SELECT clock_timestamp() - $1::interval - $2::interval AS until),
    newest AS (
        SELECT m.notification_id, m.kind, m.channel, m.created_at FROM message m, asked
        WHERE m.notification_id < id_at(until) AND m.notification_id > id_at(until - interval '10 minutes')
        ORDER BY m.notification_id DESC LIMIT 100
    )
    SELECT count(*) AS messages, count(*) FILTER (WHERE EXISTS (
        SELECT FROM event e
        WHERE e.stream_id = n.notification_id AND e.type = $4 AND e.occurred_at <= n.created_at + $2::interval
    )) AS arrived
    FROM newest n WHERE n.kind = 'code' AND n.channel = $3
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What was known of a message at some time. channel: None before its claim."""

    state: State
    channel: ChannelId | None


@dataclass(frozen=True, slots=True)
class Recent:
    """How messages with codes fared about some time: how many there were, and how many of them arrived."""

    messages: int
    arrived: int


@dataclass(frozen=True, slots=True)
class View:
    """A message, as an operator sees it."""

    notification_id: UUID
    cause_event_id: UUID
    cause_stream_id: UUID
    kind: str
    channel: ChannelId | None
    state: State
    attempts: int
    created_at: datetime
    changed_at: datetime
    deadline: datetime


class Views:
    """Errors of the database pass through."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, cause_stream_id: UUID, ago: timedelta) -> Known | None:
        """Of the newest message that the stream had asked for so long ago: what its events said by then; None: there was none.

        Where there was none, somebody else's is read all the same, and not told: for the time that it takes.
        """
        row = await self._database.fetch_row(
            "SELECT m.cause_stream_id, e.data FROM ("
            " SELECT cause_stream_id, notification_id FROM message WHERE cause_stream_id <= $1"
            " ORDER BY cause_stream_id DESC, notification_id DESC LIMIT 1"
            ") m CROSS JOIN LATERAL ("
            " SELECT data FROM event WHERE stream_id = m.notification_id AND occurred_at <= clock_timestamp() - $2::interval"
            " ORDER BY version DESC LIMIT 1) e",
            cause_stream_id,
            ago,
        )
        known = known_by(payload_of(NotifierEvent.FromString(row["data"]))) if row else None
        return known if row and row["cause_stream_id"] == cause_stream_id else None

    async def recent(self, ago: timedelta, within: timedelta, channel: ChannelId) -> Recent:
        """Of messages that were asked for in the ten minutes before `within` before so long ago: each had as long to arrive.

        At most a hundred rows are looked at, whatever the traffic.
        """
        row = await self._database.fetch_row(_RECENT, ago, within, channel, _ARRIVED_BY[channel])
        assert row is not None
        return Recent(row["messages"], row["arrived"])

    async def one(self, notification_id: UUID) -> View | None:
        row = await self._database.fetch_row(f"{_VIEW} WHERE m.notification_id = $1", notification_id)
        return None if row is None else _view(row)

    async def newest(self, limit: int, before: UUID | None, cause_stream_id: UUID | None) -> list[View]:
        """The newest first: ids of messages grow with time. before: none but those that came before it."""
        before = before or _LATEST
        if cause_stream_id is None:
            found = await self._database.fetch(
                f"{_VIEW} WHERE m.notification_id < $1 ORDER BY m.notification_id DESC LIMIT $2", before, limit
            )
        else:
            found = await self._database.fetch(
                f"{_VIEW} WHERE m.cause_stream_id = $3 AND m.notification_id < $1 ORDER BY m.notification_id DESC LIMIT $2",
                before,
                limit,
                cause_stream_id,
            )
        return [_view(row) for row in found]


def known_by(event: Payload) -> Known:
    """After an event of a message. Pure."""
    channel = channel_of(event.message.channel)  # type: ignore[attr-defined]  # each of a message's events names it
    match event:
        case MessageSubmitted():
            return Known(State.SUBMITTED, channel)
        case MessageDelivered():
            return Known(State.DELIVERED, channel)
        case MessageFailed(reason=MessageFailed.REASON_VOID):
            return Known(State.VOID, channel)
        case MessageFailed():
            return Known(State.FAILED, channel)
        case MessageAmbiguous(resent=False):
            return Known(State.AMBIGUOUS, channel)
    return Known(State.PENDING, channel)


def _view(row: asyncpg.Record) -> View:
    state = State(row["state"])
    return View(
        notification_id=row["notification_id"],
        cause_event_id=row["cause_event_id"],
        cause_stream_id=row["cause_stream_id"],
        kind=row["kind"],
        channel=ChannelId(row["channel"]) if row["channel"] else None,
        # Whether somebody is at work on it this moment is nobody else's business.
        state=State.PENDING if state is State.SUBMITTING else state,
        attempts=row["attempt"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
        deadline=row["deadline"],
    )
