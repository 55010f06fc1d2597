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

_MOST_RECENT = 10_000
_LOOK_AGAIN_S = 1.0

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


class RecentPenalties:
    """What this process need not impose again: where a penalty asks and doesn't refuse, all of a spray comes after it."""

    def __init__(self) -> None:
        self._until: dict[LimitKey, float] = {}

    def covers(self, key: LimitKey, at: float) -> bool:
        return at < self._until.get(key, 0.0)

    def note(self, key: LimitKey, at: float, until: float, imposed: bool) -> None:
        """Seconds since the epoch. imposed: now, until then; otherwise it was by somebody else, and may end sooner."""
        if len(self._until) >= _MOST_RECENT:
            self._until = {key: end for key, end in self._until.items() if at < end}
        self._until[key] = until if imposed else at + _LOOK_AGAIN_S
