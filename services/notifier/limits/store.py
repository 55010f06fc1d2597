"""The limits in the notifier's database: counted in the transaction that records a submit, under a lock of each row.

No number stands there: keys are MACs under the notifier's own key. A home country is not counted as a whole, for every SMS of
every worker would wait for that one row; its ranges are.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import phonenumbers
from zasov.events.v1.notifier_event_pb2 import MessageFailed, NotifierEvent, SendingLimitTripped

from services.chassis.eventstore import Fact, stamp
from services.chassis.postgres import Connection
from services.notifier.limits import domain
from services.notifier.limits.domain import Admitted, Count, LimitId, OverLimit, Refused, Rule

_MAC_BYTES = 16

_LIMITS = {
    LimitId.NUMBER: SendingLimitTripped.LIMIT_NUMBER,
    LimitId.RANGE: SendingLimitTripped.LIMIT_RANGE,
    LimitId.COUNTRY: SendingLimitTripped.LIMIT_COUNTRY,
}
_REFUSED = {
    Refused.STRANGERS: SendingLimitTripped.REFUSED_STRANGERS,
    Refused.ALL: SendingLimitTripped.REFUSED_ALL,
}
REASONS: "Mapping[LimitId, MessageFailed.Reason.ValueType]" = {
    LimitId.NUMBER: MessageFailed.REASON_NUMBER_CAP,
    LimitId.RANGE: MessageFailed.REASON_PREFIX_BUDGET,
    LimitId.COUNTRY: MessageFailed.REASON_PREFIX_BUDGET,
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Of an SMS. phone: E.164 with the plus sign; not shown. has_account: whether it is known to be somebody's."""

    phone: str = field(repr=False)
    has_account: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where an SMS was counted."""

    key: bytes = field(repr=False)
    slot: int


@dataclass(frozen=True, slots=True)
class Counted:
    """reference: not that of any SMS begun to the same number in hours before."""

    places: tuple[Place, ...]
    reference: int


class SendingLimits:
    """key: the notifier's own, 32 bytes. range_digits: how many last digits a range leaves open. home: calling codes."""

    def __init__(self, rules: Mapping[LimitId, Rule], key: bytes, *, range_digits: int, home: Collection[int]) -> None:
        self._rules = rules
        self._key = key
        self._range_digits = range_digits
        self._home = home

    async def take(self, connection: Connection, to: Recipient) -> Counted | OverLimit:
        """Counts one SMS under all of its limits or under none, in the caller's transaction. What is over a limit is told of
        there, too.
        """
        keys = self._keys(to.phone)
        # In this order always: two that count the same keys never wait for each other in a circle.
        locked = {row["key"]: row for row in await connection.fetch(_LOCK, list(keys.values()))}
        rows = {limit: locked[key] for limit, key in keys.items()}
        # Of the last lock: now() is when the transaction began to wait.
        now = max(row["now"] for row in rows.values())
        counts = {limit: _count(row) for limit, row in rows.items()}
        decision = domain.decide(counts, self._rules, has_account=to.has_account, now=now)
        if isinstance(decision, OverLimit):
            if decision.tell:
                await self._tell(connection, decision, keys[decision.limit], rows[decision.limit], _calling_code(to.phone), now)
            return decision
        places = await self._store(connection, decision, keys)
        return Counted(places, rows[LimitId.NUMBER]["reference"])

    async def refer(self, connection: Connection, to: Recipient) -> Counted:
        """For an SMS that is counted already."""
        (row,) = await connection.fetch(_LOCK, [self._keys(to.phone)[LimitId.NUMBER]])
        return Counted((), row["reference"])

    async def give_back(self, connection: Connection, places: Collection[Place]) -> None:
        """Nothing went out after all."""
        for place in places:
            await connection.execute(_GIVE_BACK, place.key, place.slot)

    def _keys(self, phone: str) -> dict[LimitId, bytes]:
        digits, country = phone.removeprefix("+"), _calling_code(phone)
        names = {LimitId.NUMBER: digits, LimitId.RANGE: digits[: -self._range_digits]}
        if country not in self._home:
            names[LimitId.COUNTRY] = str(country)
        return {limit: self._mac(f"sms to {limit}:{name}") for limit, name in names.items()}

    def _mac(self, name: str) -> bytes:
        return hmac.digest(self._key, name.encode(), hashlib.sha256)[:_MAC_BYTES]

    async def _store(self, connection: Connection, admitted: Admitted, keys: Mapping[LimitId, bytes]) -> tuple[Place, ...]:
        written = [(keys[limit], list(count.slots), list(count.slots.values())) for limit, count in admitted.counts.items()]
        await connection.executemany(_WRITE, written)
        return tuple(Place(keys[limit], slot) for limit, slot in admitted.slots.items())

    async def _tell(
        self, connection: Connection, over: OverLimit, key: bytes, row: asyncpg.Record, calling_code: int, now: datetime
    ) -> None:
        tripped = SendingLimitTripped(limit=_LIMITS[over.limit], refused=_REFUSED[over.refused], calling_code=calling_code)
        tripped.since.FromDatetime(over.since)
        events = stamp(NotifierEvent, row["stream_id"], row["version"], [Fact(tripped)], now)
        await connection.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())
        await connection.execute(_TOLD[over.refused], key, events.last_version, now)


def _count(row: asyncpg.Record) -> Count:
    told = {Refused.STRANGERS: row["told_strangers_at"], Refused.ALL: row["told_all_at"]}
    slots = dict(zip(row["slots"], row["counts"], strict=True))
    return Count(slots, {refused: at for refused, at in told.items() if at is not None})


def _calling_code(phone: str) -> int:
    """0: none that is known. All such numbers are one country."""
    try:
        return phonenumbers.parse(phone).country_code or 0
    except phonenumbers.NumberParseException:
        return 0


_LOCK = """
    INSERT INTO sending_count AS c (key) SELECT key FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, n) ORDER BY n
    ON CONFLICT (key) DO UPDATE SET touched_at = clock_timestamp(), reference = c.reference + 1
    RETURNING c.*, clock_timestamp() AS now
"""
_WRITE = "UPDATE sending_count SET slots = $2, counts = $3 WHERE key = $1"
_GIVE_BACK = """
    UPDATE sending_count SET counts[array_position(slots, $2)] = counts[array_position(slots, $2)] - 1
    WHERE key = $1 AND $2 = ANY(slots)
"""
_TOLD = {
    Refused.STRANGERS: "UPDATE sending_count SET version = $2, told_strangers_at = $3 WHERE key = $1",
    Refused.ALL: "UPDATE sending_count SET version = $2, told_all_at = $3 WHERE key = $1",
}
# Longer than the longest limit's time and a slot.
FORGET = "DELETE FROM sending_count WHERE touched_at <= clock_timestamp() - interval '25 hours'"
