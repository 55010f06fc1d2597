"""Subscribers' texts in the notifier's database. Each function is one transaction, and the database's clock decides."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import uuid6
from zasov.events.v1.notifier_event_pb2 import NotifierEvent, SmsLimitTripped, SmsReceived

from services.chassis.eventstore import Fact, stamp
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import Connection, Database
from services.notifier.inbound import domain
from services.notifier.inbound.domain import (
    Arrived,
    Begins,
    Decision,
    Joins,
    Known,
    KnownPart,
    Limited,
    Reference,
    Rules,
    Sender,
)
from services.notifier.inbound.sealed import Sealed


@dataclass(frozen=True, slots=True)
class Claim:
    """outcome: void, claimed (retry_in), given (the rest). parts: sealed, in order."""

    outcome: str
    parts: tuple[bytes, ...] = field(default=(), repr=False)
    destination: str = ""
    received_at: datetime | None = None
    remaining: timedelta | None = None
    retry_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Tidied:
    """incomplete: texts whose parts never all came. expired: texts that nobody acted on in time."""

    incomplete: int
    expired: int


class InboundStore:
    def __init__(self, database: Database, rules: Rules, lease: timedelta) -> None:
        self._database = database
        self._rules = rules
        self._lease = lease
        self._waker = OutboxWaker(database)

    async def take(self, sms: Sealed) -> Decision:
        """Stores it, if it is to be. Afterwards it may be acknowledged."""
        async with self._database.transaction() as connection:
            # First: whoever waits here sees what the one before has stored.
            row = await connection.fetchrow(_LOCK_SENDER, sms.sender)
            assert row is not None
            now: datetime = row["now"]
            # Before it is looked at: a reference comes round again.
            await connection.execute(_GIVE_UP_OF_SENDER, sms.sender, now - self._rules.assembly)
            known = await self._known(connection, sms.sender)
            sender = Sender(tuple(row["texts"]), row["told_at"])
            decision = domain.decide(sms.arrived, known, sender, self._rules, now)
            facts = await self._write(connection, sms, decision, now)
        if facts:
            self._waker.wake()
        return decision

    async def claim(self, inbound_id: UUID, claimant: str) -> Claim:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_CLAIM, inbound_id, claimant, self._lease)
            if row is None:
                retry_in = await connection.fetchval(_OTHERS_LEASE, inbound_id)
                return Claim("void") if retry_in is None else Claim("claimed", retry_in=retry_in)
            parts = await connection.fetch("SELECT sealed FROM inbound_part WHERE inbound_id = $1 ORDER BY number", inbound_id)
        sealed = tuple(part["sealed"] for part in parts)
        return Claim("given", sealed, row["destination"], row["started_at"], row["remaining"])

    async def report(self, inbound_id: UUID) -> None:
        """Deletes the bodies. Idempotent."""
        async with self._database.transaction() as connection:
            done = await connection.execute(
                "UPDATE inbound SET state = 'done' WHERE inbound_id = $1 AND state = 'received'", inbound_id
            )
            if done == "UPDATE 1":
                await connection.execute("UPDATE inbound_part SET sealed = NULL WHERE inbound_id = $1", inbound_id)

    async def tidy(self) -> Tidied:
        """Removes what is over: texts that are incomplete or too old, and what has served to recognise repetitions."""
        async with self._database.transaction() as connection:
            incomplete = await connection.execute(_GIVE_UP, self._rules.assembly)
            expired = await connection.execute(_EXPIRE)
            await connection.execute(_FORGET_DONE, self._rules.repeat)
            await connection.execute(_FORGET_DIGESTS, self._rules.repeat)
            await connection.execute(_FORGET_SENDERS, domain.DAY)
        return Tidied(_count(incomplete), _count(expired))

    async def _known(self, connection: Connection, sender: bytes) -> list[Known]:
        texts = await connection.fetch("SELECT * FROM inbound WHERE sender = $1 FOR UPDATE", sender)
        parts: defaultdict[UUID, dict[int, KnownPart]] = defaultdict(dict)
        for row in await connection.fetch(
            "SELECT inbound_id, number, digest, received_at FROM inbound_part WHERE inbound_id = ANY($1::uuid[])",
            [text["inbound_id"] for text in texts],
        ):
            parts[row["inbound_id"]][row["number"]] = KnownPart(row["digest"], row["received_at"])
        return [
            Known(
                inbound_id=text["inbound_id"],
                destination=text["destination"],
                reference=Reference(text["reference_kind"], text["reference"]),
                total=text["total"],
                data_coding=text["data_coding"],
                is_gathering=text["state"] == "gathering",
                parts=parts[text["inbound_id"]],
            )
            for text in texts
        ]

    async def _write(self, connection: Connection, sms: Sealed, decision: Decision, now: datetime) -> bool:
        """Whether there is something to publish."""
        match decision:
            case Begins(completes, texts):
                inbound_id = uuid6.uuid7()
                await self._insert_text(connection, inbound_id, sms, now)
                await connection.execute("UPDATE inbound_sender SET texts = $2 WHERE sender = $1", sms.sender, list(texts))
            case Joins(inbound_id, completes):
                pass
            case Limited(tell=True):
                await connection.execute("UPDATE inbound_sender SET told_at = $2 WHERE sender = $1", sms.sender, now)
                # A stream of its own: one for each sender would tell who it is that sends so many.
                await _append(connection, uuid6.uuid7(), Fact(SmsLimitTripped(destination=sms.arrived.destination)), now)
                return True
            case _:
                return False
        await connection.execute(
            "INSERT INTO inbound_part (inbound_id, number, received_at, digest, sealed) VALUES ($1, $2, $3, $4, $5)",
            inbound_id, sms.arrived.number, now, sms.arrived.digest, sms.body,
        )  # fmt: skip
        if completes:
            await connection.execute(
                "UPDATE inbound SET state = 'received', completed_at = $2 WHERE inbound_id = $1", inbound_id, now
            )
            await _append(connection, inbound_id, Fact(_received(sms.arrived)), now)
        return completes

    async def _insert_text(self, connection: Connection, inbound_id: UUID, sms: Sealed, now: datetime) -> None:
        arrived = sms.arrived
        await connection.execute(
            "INSERT INTO inbound (inbound_id, sender, destination, reference_kind, reference, total, data_coding, state,"
            " started_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'gathering', $8, $9)",
            inbound_id, sms.sender, arrived.destination, arrived.reference.kind, arrived.reference.number, arrived.total,
            arrived.data_coding, now, now + self._rules.lifetime,
        )  # fmt: skip


def _received(sms: Arrived) -> SmsReceived:
    return SmsReceived(destination=sms.destination, parts=sms.total)


async def _append(connection: Connection, stream_id: UUID, fact: Fact, now: datetime) -> None:
    events = stamp(NotifierEvent, stream_id, 0, [fact], now)
    await connection.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())


def _count(done: str) -> int:
    """Of rows, from PostgreSQL's answer: "DELETE 3"."""
    return int(done.rpartition(" ")[2])


# clock_timestamp(): now() is when the transaction began to wait.
_LOCK_SENDER = """
    INSERT INTO inbound_sender (sender) VALUES ($1) ON CONFLICT (sender) DO UPDATE SET sender = excluded.sender
    RETURNING texts, told_at, clock_timestamp() AS now
"""

_GIVE_UP_OF_SENDER = "DELETE FROM inbound WHERE sender = $1 AND state = 'gathering' AND started_at <= $2"
_GIVE_UP = "DELETE FROM inbound WHERE state = 'gathering' AND started_at <= clock_timestamp() - $1::interval"
_EXPIRE = "DELETE FROM inbound WHERE state = 'received' AND expires_at <= clock_timestamp()"
_FORGET_DONE = "DELETE FROM inbound WHERE state = 'done' AND completed_at <= clock_timestamp() - $1::interval"
_FORGET_DIGESTS = """
    UPDATE inbound_part p SET digest = NULL FROM inbound i
    WHERE i.inbound_id = p.inbound_id AND i.state <> 'gathering' AND p.digest IS NOT NULL
      AND p.received_at <= clock_timestamp() - $1::interval
"""
_FORGET_SENDERS = """
    DELETE FROM inbound_sender
    WHERE coalesce(greatest(texts[array_upper(texts, 1)], told_at), '-infinity') <= clock_timestamp() - $1::interval
"""

_CLAIM = """
    UPDATE inbound SET claimant = $2, claimed_at = coalesce(claimed_at, clock_timestamp()),
        lease_until = clock_timestamp() + $3::interval
    WHERE inbound_id = $1 AND state = 'received' AND expires_at > clock_timestamp()
      AND (claimant IS NULL OR claimant = $2 OR lease_until <= clock_timestamp())
    RETURNING destination, started_at, expires_at - clock_timestamp() AS remaining
"""
_OTHERS_LEASE = """
    SELECT greatest(lease_until - clock_timestamp(), '0') FROM inbound
    WHERE inbound_id = $1 AND state = 'received' AND expires_at > clock_timestamp() AND claimant IS NOT NULL
"""
