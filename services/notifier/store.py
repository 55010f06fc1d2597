"""The notifier's tables. Each function is one transaction: the state row and its events go together (rule 2).

Work on a message is leased: a lease is a token and a time, after which the message is due again for whoever looks. Every
write of a worker names its token, so one that was overtaken changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import uuid6
from zasov.events.v1.notifier_event_pb2 import NotifierEvent

from services.chassis.clock import DatabaseTime
from services.chassis.eventstore import stamp
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import Connection, Database
from services.chassis.streams import advance_mark
from services.chassis.telemetry import current_traceparent
from services.notifier import domain, metrics
from services.notifier.domain import ChannelId, Kind, Message, PartState, Policy, Report, State, Step, Wanted
from services.notifier.limits.store import FORGET, REASONS, Counted, Place, Recipient, SendingLimits


@dataclass(frozen=True, slots=True)
class Leased:
    """A message in this worker's hands until `lease_s` after the time was read. places: where its submit was counted.
    reference: marks the parts of an SMS to its number.
    """

    message: Message
    token: UUID
    time: DatabaseTime
    traceparent: str | None = None
    places: tuple[Place, ...] = ()
    reference: int = 0


class Store:
    def __init__(self, database: Database, policy: Policy, lease: timedelta, limits: SendingLimits) -> None:
        self._database = database
        self._policy = policy
        self._lease = lease
        self._limits = limits
        self._waker = OutboxWaker(database)

    async def accept(
        self, consumer: str, stream_id: UUID, version: int, wanted: Wanted | None, *, mine: bool, replayed: bool = False
    ) -> Leased | None:
        """Marks the event as applied and stores the message that it asks for, if both are new.

        mine: lease it to the caller at once. Returns it if so, and if there is something to send. replayed: later events of
        the stream may have been applied since it was put aside; that an event asks for one message is enough.
        """
        async with self._database.transaction() as connection:
            now = await advance_mark(connection, consumer, stream_id, version)
            if (now is None and not replayed) or wanted is None:
                return None
            now = now or await connection.fetchval("SELECT now()")
            step = domain.accept(uuid6.uuid7(), wanted, self._policy, now)
            message = step.message
            token = uuid4() if mine and step.due_in is not None else None
            due_at = None if step.due_in is None else now + self._lease if token else now + step.due_in
            if not await _insert(connection, step, token, due_at, now):
                return None
        self._after_commit(step)
        return Leased(message, token, DatabaseTime.just_read(now), current_traceparent()) if token else None

    async def lease(self, limit: int, up: Collection[ChannelId]) -> list[Leased]:
        """Takes up to `limit` due messages that no other worker has; those that need a channel only if it is up."""
        token = uuid4()
        rows = await self._database.fetch(_LEASE, limit, list(up), token, self._lease)
        return [Leased(_message(row), token, DatabaseTime.just_read(row["now"]), row["traceparent"]) for row in rows]

    async def begin(self, leased: Leased, to: Recipient | None) -> Leased | None:
        """`submitting` is committed before the message goes on the wire, and counted, and the lease is renewed; over a limit,
        the message has failed instead. to: of an SMS; None: no limit counts it. None: overtaken.
        """
        after = domain.begin(leased.message).message
        async with self._database.transaction() as connection:
            # Naming the attempt makes it repeatable when the answer to the commit was lost.
            row = await connection.fetchrow(
                "UPDATE message SET state = 'submitting', attempt = $3, due_at = now() + $4, channel = $6"
                " WHERE notification_id = $1 AND lease = $2 AND version = $5 RETURNING now(), old.attempt",
                after.notification_id, leased.token, after.attempt, self._lease, after.version, after.channel,
            )  # fmt: skip
            if row is None:
                return None
            time = DatabaseTime.just_read(row["now"])  # before it waits for others who send to the same
            if to is None:
                return Leased(after, leased.token, time, leased.traceparent)
            is_counted = row["attempt"] == after.attempt
            count = self._limits.refer if is_counted else self._limits.take
            taken = await count(connection, to)
            if isinstance(taken, Counted):
                return Leased(after, leased.token, time, leased.traceparent, taken.places, taken.reference)
            step = domain.over_limit(after, REASONS[taken.limit])
            await self._write_step(connection, after, step)
        metrics.SENDING_REFUSED.labels(taken.limit, taken.refused).inc()
        self._after_commit(step)
        return Leased(step.message, leased.token, time, leased.traceparent)

    async def renew(self, leased: Leased) -> None:
        await self._database.execute(
            "UPDATE message SET due_at = now() + $3 WHERE notification_id = $1 AND lease = $2",
            leased.message.notification_id, leased.token, self._lease,
        )  # fmt: skip

    async def settle(self, leased: Leased, step: Step) -> Message | None:
        """Stores what followed. None: overtaken, or stored already by a try whose answer was lost."""
        async with self._database.transaction() as connection:
            if not await self._still_mine(connection, leased):
                return None
            await self._write_step(connection, leased.message, step)
            if step.nothing_went_out:
                await self._limits.give_back(connection, leased.places)
        self._after_commit(step)
        return step.message

    async def settle_submitted(self, leased: Leased, smsc_id: str, ids: Sequence[str]) -> Message | None:
        """Like `settle`, for a message that the provider took: stores its ids, and applies receipts that were quicker."""
        async with self._database.transaction() as connection:
            for one in sorted(set(ids)):
                await _lock_id(connection, smsc_id, one)
            if not await self._still_mine(connection, leased):
                return None
            early = {
                row["smsc_message_id"]: PartState(row["state"])
                for row in await connection.fetch(
                    "DELETE FROM early_receipt WHERE smsc_id = $1 AND smsc_message_id = ANY($2::text[])"
                    " RETURNING smsc_message_id, state",
                    smsc_id, list(ids),
                )
            }  # fmt: skip
            # Some SMSCs give all parts of a text one id: what its receipt says, it says of all of them.
            states = {one: early.get(one, PartState.UNDERWAY) for one in ids}
            step = domain.submitted(leased.message, [states[one] for one in ids])
            await connection.execute(
                _INSERT_PARTS,
                smsc_id, list(states), leased.message.notification_id, leased.message.attempt, list(states.values()),
            )  # fmt: skip
            await self._write_step(connection, leased.message, step)
        self._after_commit(step)
        return step.message

    async def receive(self, smsc_id: str, smsc_message_id: str, state: PartState) -> bool:
        """Applies a receipt, or keeps it until its id is known. Whether it was known."""
        step: Step | None = None
        async with self._database.transaction() as connection:
            await _lock_id(connection, smsc_id, smsc_message_id)
            row = await connection.fetchrow(
                "UPDATE part SET state = $3 WHERE smsc_id = $1 AND smsc_message_id = $2 RETURNING notification_id, attempt",
                smsc_id, smsc_message_id, state,
            )  # fmt: skip
            if row is None:
                await connection.execute(_KEEP_EARLY, smsc_id, smsc_message_id, state)
                return False
            found = await connection.fetchrow(
                "SELECT * FROM message WHERE notification_id = $1 FOR UPDATE", row["notification_id"]
            )
            assert found is not None  # a part references its message
            message = _message(found)
            if message.attempt == row["attempt"]:
                parts = await connection.fetch(
                    "SELECT state FROM part WHERE notification_id = $1 AND attempt = $2",
                    message.notification_id,
                    message.attempt,
                )
                step = domain.receipt(message, [PartState(part["state"]) for part in parts])
            if step is not None:
                await self._write_events(connection, message.notification_id, message.version, step)
                # The lease is left alone: somebody may be at work on the report.
                await _write_state(connection, step.message)
        if step is not None:
            self._after_commit(step)
        return True

    async def reported(self, leased: Leased) -> None:
        await self._database.execute(
            "UPDATE message SET reported = true, lease = NULL, due_at = NULL WHERE notification_id = $1 AND lease = $2",
            leased.message.notification_id, leased.token,
        )  # fmt: skip

    async def put_off_report(self, leased: Leased, pause: timedelta | None) -> None:
        """None: no more tries."""
        await self._database.execute(
            "UPDATE message SET lease = NULL, tries = tries + 1, due_at = now() + $3::interval"
            " WHERE notification_id = $1 AND lease = $2",
            leased.message.notification_id, leased.token, pause,
        )  # fmt: skip

    async def forget_early_receipts(self, older_than: timedelta) -> None:
        await self._database.execute("DELETE FROM early_receipt WHERE received_at < now() - $1::interval", older_than)

    async def forget_old_counts(self) -> None:
        await self._database.execute(FORGET)

    async def _still_mine(self, connection: Connection, leased: Leased) -> bool:
        row = await connection.fetchrow(
            "SELECT version FROM message WHERE notification_id = $1 AND lease = $2 FOR UPDATE",
            leased.message.notification_id, leased.token,
        )  # fmt: skip
        return row is not None and row["version"] == leased.message.version

    async def _write_step(self, connection: Connection, before: Message, step: Step) -> None:
        await self._write_events(connection, before.notification_id, before.version, step)
        await _write_state(connection, step.message)
        if step.message.report is not None:
            # Goes on under the same lease: the report is next.
            await connection.execute(
                "UPDATE message SET due_at = now() + $2 WHERE notification_id = $1", before.notification_id, self._lease
            )
        else:
            await connection.execute(
                "UPDATE message SET lease = NULL, due_at = now() + $2::interval WHERE notification_id = $1",
                before.notification_id, step.due_in,
            )  # fmt: skip

    async def _write_events(self, connection: Connection, notification_id: UUID, version: int, step: Step) -> None:
        if not step.facts:
            return
        now = await connection.fetchval("SELECT now()")
        events = stamp(NotifierEvent, notification_id, version, step.facts, now)
        await connection.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())

    def _after_commit(self, step: Step) -> None:
        if any(fact.is_public for fact in step.facts):
            self._waker.wake()
            metrics.MESSAGES.labels(step.message.kind, step.message.state).inc()


async def _insert(connection: Connection, step: Step, token: UUID | None, due_at: datetime | None, now: datetime) -> bool:
    """The message and its first events, in one round trip. False: its event has asked for one already."""
    message = step.message
    events = stamp(NotifierEvent, message.notification_id, 0, step.facts, now)
    row = await connection.fetchrow(
        _INSERT,
        message.notification_id, message.cause_event_id, message.cause_stream_id, message.kind, message.channel, message.state,
        message.version, message.created_at, message.deadline, due_at, token, current_traceparent(), *events.arguments(),
    )  # fmt: skip
    return row is not None


async def _write_state(connection: Connection, message: Message) -> None:
    await connection.execute(
        "UPDATE message SET state = $2, version = $3, resends = $4, tries = $5, report = $6, channel = $7"
        " WHERE notification_id = $1",
        message.notification_id, message.state, message.version, message.resends, message.tries, message.report,
        message.channel,
    )  # fmt: skip


async def _lock_id(connection: Connection, smsc_id: str, smsc_message_id: str) -> None:
    """A receipt and the answer to its submit may be stored at the same moment: one of the two must see the other."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{smsc_id} {smsc_message_id}")


def _message(row: asyncpg.Record) -> Message:
    return Message(
        notification_id=row["notification_id"],
        cause_event_id=row["cause_event_id"],
        cause_stream_id=row["cause_stream_id"],
        kind=Kind(row["kind"]),
        channel=ChannelId(row["channel"]) if row["channel"] else None,
        state=State(row["state"]),
        created_at=row["created_at"],
        deadline=row["deadline"],
        version=row["version"],
        attempt=row["attempt"],
        resends=row["resends"],
        tries=row["tries"],
        report=Report(row["report"]) if row["report"] else None,
    )


_INSERT = """
    WITH new AS (
        INSERT INTO message (notification_id, cause_event_id, cause_stream_id, kind, channel, state, version, created_at,
            deadline, due_at, lease, traceparent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT DO NOTHING RETURNING notification_id
    )
    SELECT insert_events($13, $14, $15, $16, $17, $18, $19, $20, $21) FROM new
"""

_LEASE = """
    WITH due AS (
        SELECT notification_id FROM message
        WHERE due_at <= now() AND (
            state <> 'pending' OR deadline <= now() OR channel = ANY($2::text[])
            OR channel IS NULL AND cardinality($2::text[]) > 0)
        ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE message m SET lease = $3, due_at = now() + $4 FROM due
    WHERE m.notification_id = due.notification_id RETURNING m.*, now() AS now
"""

# A provider that starts counting anew gives an old id again: the newest message has it.
_INSERT_PARTS = """
    INSERT INTO part (smsc_id, smsc_message_id, notification_id, attempt, number, state)
    SELECT $1, p.id, $3, $4, p.n, p.state FROM unnest($2::text[], $5::text[]) WITH ORDINALITY AS p (id, state, n)
    ON CONFLICT (smsc_id, smsc_message_id) DO UPDATE
    SET notification_id = excluded.notification_id, attempt = excluded.attempt, number = excluded.number, state = excluded.state
"""

_KEEP_EARLY = """
    INSERT INTO early_receipt (smsc_id, smsc_message_id, state) VALUES ($1, $2, $3)
    ON CONFLICT (smsc_id, smsc_message_id) DO UPDATE SET state = excluded.state, received_at = now()
"""
