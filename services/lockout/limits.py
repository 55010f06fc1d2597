"""Soft limits: the generic cell rate algorithm (ATM Forum TM 4.0, 4.4.2), pure.

One number a key: the theoretical arrival time (TAT). It is right after any recovery, and has no windows that would have to
expire. Fed with the time at which an event happened, so that a replay trips nothing.
"""

from dataclasses import dataclass

# A float of the size of today's date has steps of a quarter of a microsecond, and a burst adds up many of them.
_ROUNDING_S = 1e-4


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` events at once, then one every `interval_s` seconds; the one too many costs `penalty_s` seconds."""

    burst: int
    interval_s: float
    penalty_s: float


def register(tat: float, at: float, limit: Limit) -> tuple[float, bool]:
    """Counts an event. tat, at: seconds since the epoch. Returns the new TAT and whether the limit is exceeded."""
    tolerance = limit.burst * limit.interval_s
    if tat - at > tolerance + _ROUNDING_S:
        # Before what was counted already: a replay. It is no excess of its own, and what came since is not forgotten.
        return tat, False
    following = max(tat, at) + limit.interval_s
    if following - at > tolerance + _ROUNDING_S:
        # Not pushed further out by what comes in excess: the penalty is the punishment, not an endless debt.
        return max(tat, at + tolerance), True
    return following, False
