"""Penalties: what the soft limits leave behind for admission to read. A lease each, and an event."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import NAMESPACE_OID, UUID, uuid5

from zasov.events.v1.lockout_event_pb2 import (
    LIMIT_DIMENSION_CODES_BY_IP,
    LIMIT_DIMENSION_CODES_BY_RANGE,
    LIMIT_DIMENSION_CODES_BY_SUBNET,
    LIMIT_DIMENSION_CODES_BY_SYSTEM,
    LIMIT_DIMENSION_FAILURES_BY_IP,
    LIMIT_DIMENSION_FAILURES_BY_RANGE,
    LIMIT_DIMENSION_FAILURES_BY_SUBNET,
    LIMIT_DIMENSION_FAILURES_BY_SYSTEM,
    LimitDimension,
    LimitTripped,
    LockoutEvent,
)

from services.chassis.eventstore import Fact, stamp
from services.chassis.outbox_relay import OutboxWaker

# The pseudonym of the whole system, of which there is one.
WHOLE_SYSTEM = ""

# An address or a subnet under a penalty is refused. A range or the whole system never is, else one botnet would switch
# everybody off: it is asked for a captcha, and gets longer codes.
REFUSING_FAILURES = (LIMIT_DIMENSION_FAILURES_BY_IP, LIMIT_DIMENSION_FAILURES_BY_SUBNET)
REFUSING_CODES = (LIMIT_DIMENSION_CODES_BY_IP, LIMIT_DIMENSION_CODES_BY_SUBNET)
ASKING_FAILURES = (LIMIT_DIMENSION_FAILURES_BY_RANGE, LIMIT_DIMENSION_FAILURES_BY_SYSTEM)
ASKING_CODES = (LIMIT_DIMENSION_CODES_BY_RANGE, LIMIT_DIMENSION_CODES_BY_SYSTEM)

_NAMESPACE = uuid5(NAMESPACE_OID, "zasov lockout limit")


@dataclass(frozen=True, slots=True)
class LimitKey:
    """What is counted, and whose: a pseudonym under the monthly key of that name. Both are empty for the whole system."""

    dimension: LimitDimension.ValueType
    key_id: str
    pseudonym: str

    @property
    def stream_id(self) -> UUID:
        return uuid5(_NAMESPACE, self.to_text())

    def to_text(self) -> str:
        return f"{self.dimension}:{self.key_id}:{self.pseudonym}"

    @classmethod
    def from_text(cls, text: str) -> "LimitKey":
        """Raises ValueError."""
        dimension, key_id, pseudonym = text.split(":")
        return cls(LimitDimension.ValueType(int(dimension)), key_id, pseudonym)


class PenaltyStore:
    """Writes penalties. Admission reads them within its own transaction."""

    def __init__(self, waker: OutboxWaker) -> None:
        self._waker = waker

    async def impose(self, key: LimitKey, until: datetime) -> bool:
        """False: one lies on the key already, or `until` has passed (a replay)."""
        async with self._waker.transaction() as connection:
            await connection.execute(
                "INSERT INTO penalty (pseudonym, dimension, key_id, until, version) VALUES ($1, $2, $3, '-infinity', 0)"
                " ON CONFLICT DO NOTHING",
                key.pseudonym,
                key.dimension,
                key.key_id,
            )
            row = await connection.fetchrow(
                "SELECT version, until > clock_timestamp() AS in_force, clock_timestamp() AS now FROM penalty"
                " WHERE pseudonym = $1 AND dimension = $2 FOR UPDATE",
                key.pseudonym,
                key.dimension,
            )
            assert row is not None
            if row["in_force"] or until <= row["now"]:
                return False
            tripped = LimitTripped(dimension=key.dimension, pseudonym=key.pseudonym, key_id=key.key_id)
            tripped.until.FromDatetime(until.astimezone(UTC))
            events = stamp(LockoutEvent, key.stream_id, row["version"], [Fact(tripped)], row["now"])
            await connection.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())
            await connection.execute(
                "UPDATE penalty SET until = $3, version = $4, key_id = $5 WHERE pseudonym = $1 AND dimension = $2",
                key.pseudonym,
                key.dimension,
                until,
                events.last_version,
                key.key_id,
            )
        return True

    async def now(self) -> datetime:
        """The database's time."""
        async with self._waker.transaction() as connection:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return now

    async def beat(self, at: datetime) -> None:
        """The stream has handled what it sent itself at that time, by the database's clock."""
        async with self._waker.transaction() as connection:
            await connection.execute(
                "INSERT INTO stream_beat AS b (at) VALUES ($1)"
                " ON CONFLICT (only_one) DO UPDATE SET at = greatest(b.at, excluded.at)",
                at,
            )
