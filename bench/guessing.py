"""A day of guessing at codes, played in memory with the rules that otp itself decides by. Pure: the clock is played too.

The checks that are made are counted exactly. Whether one is right is a matter of chance, 10 to the power of minus its digits.
"""

import math
import random
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_RECOVERY, OTP_PURPOSE_REGISTRATION

from services.otp.brake import BrakeRules
from services.otp.domain import BUDGET_WINDOW, Admitted, Budget, Rules, admit

MORNING = datetime(2026, 3, 1, tzinfo=UTC)
LENGTHS = (4, 6, 8)
_PURPOSES = (OTP_PURPOSE_RECOVERY, OTP_PURPOSE_REGISTRATION)


@dataclass(slots=True)
class Code:
    """digits, and what a guesser may still do with it."""

    digits: int
    expires_at: datetime
    tries_left: int


@dataclass(slots=True)
class Number:
    """One subscriber's number under attack."""

    budget: Budget = field(default_factory=Budget)
    codes: list[Code] = field(default_factory=list)


@dataclass
class Otp:
    """What otp lets a guesser do. brake: None: there is none. Checks go as begin_check does; a test holds them to it."""

    rules: Rules
    brake: BrakeRules | None
    now: datetime = MORNING
    issued: Counter[int] = field(default_factory=Counter)
    checked: Counter[int] = field(default_factory=Counter)
    voided: Counter[int] = field(default_factory=Counter)
    _wrong_at: deque[datetime] = field(default_factory=deque)
    _issued_at: deque[datetime] = field(default_factory=deque)
    _held: int = 0
    _held_until: datetime = MORNING

    def issue(self, number: Number) -> Code | None:
        """None: refused, of either purpose."""
        for purpose in _PURPOSES:
            verdict = admit(number.budget, purpose, self.rules, self.now, self._least_digits())
            if isinstance(verdict, Admitted):
                number.budget = number.budget.within_window(self.now).with_issued(self.now, purpose)
                code = Code(verdict.digits, self.now + self.rules.lifetime, self.rules.tries)
                number.codes.append(code)
                self._issued_at.append(self.now)
                self.issued[code.digits] += 1
                return code
        return None

    def guess(self, number: Number, code: Code) -> bool:
        """Whether a check was made; it was wrong then."""
        if not code.tries_left or self.now >= code.expires_at:
            return False
        number.budget = number.budget.within_window(self.now)
        limit = self.rules.wrong_limits().get(code.digits)
        if code.digits < self._least_digits() or (limit is not None and len(number.budget.wrong_at) >= limit):
            self.voided[code.digits] += 1
            return False
        code.tries_left -= 1
        number.budget = replace(number.budget, wrong_at=(*number.budget.wrong_at, self.now))
        self._wrong_at.append(self.now)
        self.checked[code.digits] += 1
        return True

    def _least_digits(self) -> int:
        if self.brake is None:
            return 0
        _forget(self._wrong_at, self.now - BUDGET_WINDOW)
        _forget(self._issued_at, self.now - self.brake.issued_window)
        counted = self.brake.digits_after(len(self._wrong_at), len(self._issued_at))
        held = self._held if self.now < self._held_until else 0
        if counted > held:
            self._held, self._held_until = counted, self.now + self.brake.hold
        return max(counted, held)


def all_day(otp: Otp, numbers: int) -> None:
    """Patiently: for a few numbers at a time as many codes as can live, then every guess that they allow; never so many codes
    at once that they would be noticed.
    """
    codes_each = math.ceil(otp.rules.refuse_after_wrong / otp.rules.tries)
    window = otp.brake.issued_window if otp.brake else timedelta(minutes=10)
    at_once = max(1, (otp.brake.issued_from[0] - 1 if otp.brake else 5_000) // (2 * codes_each))
    evening = otp.now + timedelta(days=1)
    for first in range(0, numbers, at_once):
        group = [Number() for _ in range(min(at_once, numbers - first))]
        started = otp.now
        # Twice: the second time the codes have grown, where there is anything left.
        for _ in range(2):
            for _ in range(codes_each):
                for number in group:
                    otp.issue(number)
                otp.now += otp.rules.cool_down
            _guess_all(otp, group)
        otp.now = max(otp.now, started + window + timedelta(seconds=1))
        if otp.now >= evening:
            return


def beforehand(otp: Otp, numbers: int) -> None:
    """One code for each number first, then every guess at all of them."""
    group = [Number() for _ in range(numbers)]
    step = otp.rules.lifetime / (2 * numbers)
    for number in group:
        otp.issue(number)
        otp.now += step
    _guess_all(otp, group)


def expected(checked: Mapping[int, int]) -> float:
    """Numbers taken over, on average: guesses at one code all differ, so each check is right with 10**-digits."""
    return sum(count * 10.0**-digits for digits, count in checked.items())


def chance(checked: Mapping[int, int]) -> float:
    """That at least one number is taken over."""
    return -math.expm1(sum(count * math.log1p(-(10.0**-digits)) for digits, count in checked.items()))


def bound(rules: Rules, brake: BrakeRules, numbers: int, overshoot: int) -> dict[int, int]:
    """No more checks than these can be made at `numbers` numbers within 24 hours. overshoot: checks that may be under way at
    once, one a connection of otp's servers.
    """
    return {
        4: min(rules.longest_after_wrong * numbers, brake.wrong_from[0] + overshoot),
        6: min(rules.refuse_after_wrong * numbers, brake.wrong_from[1] + overshoot),
        8: rules.issues_per_day * rules.tries * numbers,
    }


def draw(checked: Mapping[int, int], dice: random.Random) -> int:
    """Plays each check: how many were right. From one right check to the next at once, for they are rare."""
    right = 0
    for digits, count in checked.items():
        log_wrong, position = math.log1p(-(10.0**-digits)), 0
        while (position := position + 1 + int(math.log(1.0 - dice.random()) / log_wrong)) <= count:
            right += 1
    return right


def _guess_all(otp: Otp, group: list[Number]) -> None:
    for number in group:
        for code in number.codes:
            while otp.guess(number, code):
                pass


def _forget(times: deque[datetime], since: datetime) -> None:
    while times and times[0] <= since:
        times.popleft()
