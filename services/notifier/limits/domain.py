"""How many SMS may go to one number, one range of numbers, one country. Pure: counts and a time in, a decision out.

What went out is counted in slots of a sixtieth of a limit's time, and a slot counts until the whole of it is older than that
time. So no span of that length holds more than the limit, wherever it begins, and a key never needs more than 61 numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

_SLOTS = 60


class LimitId(StrEnum):
    NUMBER = "number"
    RANGE = "range"
    COUNTRY = "country"


class Refused(StrEnum):
    """Who is."""

    STRANGERS = "strangers"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Rule:
    """At most so many SMS within `window`. strangers: how many may have gone out when one to somebody without an account is
    still let through; what is between the two is kept for those who have one.
    """

    most: int
    strangers: int
    window: timedelta

    def slot_of(self, at: datetime) -> int:
        return int(at.timestamp() // self._slot_s)

    def begin_of(self, slot: int) -> datetime:
        return datetime.fromtimestamp(slot * self._slot_s, UTC)

    @property
    def _slot_s(self) -> float:
        return self.window.total_seconds() / _SLOTS


@dataclass(frozen=True, slots=True)
class Count:
    """What went out, by slot, and when it was last said who is refused."""

    slots: Mapping[int, int] = field(default_factory=dict)
    told: Mapping[Refused, datetime] = field(default_factory=dict)

    def within(self, rule: Rule, now: datetime) -> "Count":
        """Without what is too old to count."""
        oldest = rule.slot_of(now) - _SLOTS
        return replace(self, slots={slot: sent for slot, sent in self.slots.items() if slot >= oldest and sent > 0})

    @property
    def total(self) -> int:
        return sum(self.slots.values())


@dataclass(frozen=True, slots=True)
class Admitted:
    """May go out. slots: where it is counted, to be taken back if it doesn't."""

    counts: Mapping[LimitId, Count]
    slots: Mapping[LimitId, int]


@dataclass(frozen=True, slots=True)
class OverLimit:
    """Is not sent, and counts nowhere. tell: this was not said yet within the limit's time. since: when the oldest of what
    fills the limit went out.
    """

    limit: LimitId
    refused: Refused
    tell: bool
    since: datetime


def decide(
    counts: Mapping[LimitId, Count], rules: Mapping[LimitId, Rule], *, has_account: bool, now: datetime
) -> Admitted | OverLimit:
    """For one SMS, which counts under each of the limits in `counts`, or under none."""
    after: dict[LimitId, Count] = {}
    slots: dict[LimitId, int] = {}
    for limit, count in counts.items():
        rule = rules[limit]
        current = count.within(rule, now)
        if current.total >= (rule.most if has_account else min(rule.most, rule.strangers)):
            refused = Refused.ALL if current.total >= rule.most else Refused.STRANGERS
            told_at = count.told.get(refused)
            since = rule.begin_of(min(current.slots)) if current.slots else now
            return OverLimit(limit, refused, tell=told_at is None or told_at <= now - rule.window, since=since)
        slots[limit] = slot = rule.slot_of(now)
        after[limit] = replace(current, slots={**current.slots, slot: current.slots.get(slot, 0) + 1})
    return Admitted(after, slots)
