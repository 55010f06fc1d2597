"""The brake for the whole system (B4): under a spray all codes are longer, and the shorter ones that live are not checked.

What is counted, and what follows for a check, is decided where it is counted (0002_spray_brake.sql); here is what it means.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

from zasov.events.v1.otp_event_pb2 import CodesLengthened

_NAMESPACE = uuid5(NAMESPACE_OID, "zasov otp brake")


@dataclass(frozen=True, slots=True)
class BrakeRules:
    """wrong_from: wrong checks within domain.BUDGET_WINDOW from which codes have 6 and 8 digits; issued_from: codes issued
    within `issued_window` from which they do. hold: how long a trip lasts at least.
    """

    wrong_from: tuple[int, int]
    issued_window: timedelta
    issued_from: tuple[int, int]
    hold: timedelta

    def digits_after(self, wrong: int, issued: int) -> int:
        """Digits that a code must have; 0: any number. The SQL function spray_digits decides alike."""
        if wrong >= self.wrong_from[1] or issued >= self.issued_from[1]:
            return 8
        if wrong >= self.wrong_from[0] or issued >= self.issued_from[0]:
            return 6
        return 0


@dataclass(frozen=True, slots=True)
class Spray:
    """Digits that a code must have for the whole system's sake, 0 for any. counted: by what is counted now; held: by an
    earlier trip.
    """

    counted: int
    held: int

    @property
    def least_digits(self) -> int:
        return max(self.counted, self.held)

    @property
    def trips(self) -> bool:
        return self.counted > self.held


def brake_stream(digits: int) -> UUID:
    """The stream of the trips to that many digits."""
    return uuid5(_NAMESPACE, str(digits))


def lengthened(digits: int, until: datetime) -> CodesLengthened:
    fact = CodesLengthened(digits=digits)
    fact.until.FromDatetime(until)
    return fact
