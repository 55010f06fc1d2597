"""What a challenge is and when a subject may have another. Pure: no I/O, no clock, no randomness.

A challenge is a stream: OtpIssued (DecoyIssued of one that is never right), then OtpFailed up to the number of tries (and as
many again by whoever holds no grant of its flow), then at most one of OtpVerified, OtpSuperseded, OtpExpired. A wrong check
that was under way meanwhile may still be recorded after that.
"""

import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from google.protobuf.message import Message
from zasov.events.v1.otp_event_pb2 import (
    DecoyIssued,
    OtpExpired,
    OtpFailed,
    OtpIssued,
    OtpPurpose,
    OtpRefused,
    OtpSuperseded,
    OtpVerified,
)

from services.otp.codes import PASSWORD_LENGTHS

BUDGET_WINDOW = timedelta(hours=24)
_LONG_PASSWORD = 10

# Names that only the stubs know.
Purpose: TypeAlias = "OtpPurpose.ValueType"
Reason: TypeAlias = "OtpRefused.Reason.ValueType"


class State(StrEnum):
    OPEN = "open"
    VERIFIED = "verified"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True)
class IssuedSecret:
    """What of the first event may not leave the store (docs/architecture.md, rule 4): a challenge is rebuilt with it."""

    subject_id: UUID
    flow_id: UUID
    max_tries: int
    is_decoy: bool
    code_mac: bytes = field(repr=False)

    _FORM = struct.Struct(">B16s16sB?32s")
    _VERSION = 1

    def to_bytes(self) -> bytes:
        return self._FORM.pack(
            self._VERSION, self.subject_id.bytes, self.flow_id.bytes, self.max_tries, self.is_decoy, self.code_mac
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "IssuedSecret":
        """Raises ValueError."""
        if len(data) != cls._FORM.size or data[0] != cls._VERSION:
            raise ValueError("not the secret of a challenge")
        _, subject, flow, max_tries, is_decoy, mac = cls._FORM.unpack(data)
        return cls(UUID(bytes=subject), UUID(bytes=flow), max_tries, is_decoy, mac)


@dataclass(frozen=True, slots=True)
class Challenge:
    """failures: wrong checks whose outcome is recorded; checks under way are counted by the row's `tries`. Those of whoever had
    no grant are not among them.
    """

    subject_id: UUID
    flow_id: UUID
    purpose: Purpose
    digits: int
    max_tries: int
    is_decoy: bool
    code_mac: bytes = field(repr=False)
    issued_at: datetime
    expires_at: datetime
    state: State
    failures: int


@dataclass(frozen=True, slots=True)
class CheckMade:
    """A counted check has been made and its outcome is to be recorded. without_grant: by somebody whose guesses take none of
    the tries.
    """

    right: bool
    without_grant: bool = False


@dataclass(frozen=True, slots=True)
class GiveWay:
    """A newer code takes its place, or it is cancelled."""


@dataclass(frozen=True, slots=True)
class Lapse:
    """Its time may be over."""


def issued(purpose: Purpose, digits: int, expires_at: datetime, *, is_decoy: bool = False) -> OtpIssued | DecoyIssued:
    fact = (DecoyIssued if is_decoy else OtpIssued)(purpose=purpose, digits=digits)
    fact.expires_at.FromDatetime(expires_at)
    return fact


def decide(challenge: Challenge, command: CheckMade | GiveWay | Lapse, now: datetime) -> list[Message]:
    """The facts that follow. An empty list: nothing changes; for a right check that means that it came too late."""
    is_open = challenge.state is State.OPEN
    is_over = now >= challenge.expires_at
    match command:
        case CheckMade(right=True):
            return [OtpVerified(purpose=challenge.purpose)] if is_open and not is_over else []
        case CheckMade(right=False, without_grant=without_grant):
            left = challenge.max_tries - challenge.failures - (not without_grant)
            return [OtpFailed(purpose=challenge.purpose, tries_left=max(0, left), without_grant=without_grant)]
        case GiveWay():
            return [OtpExpired() if is_over else OtpSuperseded()] if is_open else []
        case Lapse():
            return [OtpExpired()] if is_open and is_over else []
    raise AssertionError("no such command")


def evolve(challenge: Challenge | None, fact: Message, at: datetime, secret: IssuedSecret | None = None) -> Challenge:
    """`secret` is that of the first event, and only of it. Raises ValueError for what can't follow."""
    if isinstance(fact, OtpIssued | DecoyIssued):
        if challenge is not None or secret is None or secret.is_decoy != isinstance(fact, DecoyIssued):
            raise ValueError("a challenge is issued once, with its secret")
        return Challenge(
            subject_id=secret.subject_id,
            flow_id=secret.flow_id,
            purpose=fact.purpose,
            digits=fact.digits,
            max_tries=secret.max_tries,
            is_decoy=secret.is_decoy,
            code_mac=secret.code_mac,
            issued_at=at,
            expires_at=fact.expires_at.ToDatetime(UTC),
            state=State.OPEN,
            failures=0,
        )
    if challenge is None:
        raise ValueError("a challenge begins with its issue")
    match fact:
        case OtpVerified():
            return replace(challenge, state=State.VERIFIED)
        case OtpSuperseded():
            return replace(challenge, state=State.SUPERSEDED)
        case OtpExpired():
            return replace(challenge, state=State.EXPIRED)
        case OtpFailed(without_grant=True):
            return challenge
        case OtpFailed():
            failures = challenge.failures + 1
            is_spent = challenge.state is State.OPEN and failures >= challenge.max_tries
            return replace(challenge, failures=failures, state=State.EXHAUSTED if is_spent else challenge.state)
    raise ValueError("not a fact about a challenge")


@dataclass(frozen=True, slots=True)
class Rules:
    """The profile of codes: M4, B4. Thresholds are wrong checks of one subject within BUDGET_WINDOW."""

    digits: int
    lifetime: timedelta
    password_lifetime: timedelta
    tries: int
    cool_down: timedelta
    longer_after_wrong: int
    longest_after_wrong: int
    refuse_after_wrong: int
    issues_per_day: int

    def lifetime_of(self, purpose: Purpose) -> timedelta:
        return self.password_lifetime if purpose in PASSWORD_LENGTHS else self.lifetime

    def digits_after(self, wrong: int) -> int:
        if wrong >= self.longest_after_wrong:
            return 8
        if wrong >= self.longer_after_wrong:
            return max(6, self.digits)
        return self.digits

    def wrong_limits(self) -> dict[int, int]:
        """Digits -> wrong checks of the subject from which a live code of that length is no longer checked.

        Else one opens many short codes first and guesses at them all afterwards. It is one step later than for new codes,
        so that the typing errors of one flow do not void the code of another.
        """
        return {4: self.longest_after_wrong, 6: self.refuse_after_wrong}


@dataclass(frozen=True, slots=True)
class Budget:
    """A subject's last 24 hours, oldest first. It outlives every challenge."""

    wrong_at: tuple[datetime, ...] = ()
    issued: tuple[tuple[datetime, Purpose], ...] = ()

    def within_window(self, now: datetime) -> "Budget":
        since = now - BUDGET_WINDOW
        return Budget(tuple(at for at in self.wrong_at if at > since), tuple(i for i in self.issued if i[0] > since))

    def with_issued(self, at: datetime, purpose: Purpose) -> "Budget":
        return replace(self, issued=(*self.issued, (at, purpose)))


@dataclass(frozen=True, slots=True)
class Admitted:
    digits: int


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Reason
    retry_in: timedelta


def admit(budget: Budget, purpose: Purpose, rules: Rules, now: datetime, least_digits: int = 0) -> Admitted | Refused:
    """Whether the subject may have a code now, and how long it is: at least `least_digits`, for reasons beyond the subject.

    A spent budget is said before a cool-down: its wait is the longer one, and who came back after the cool-down would be
    refused again.
    """
    budget = budget.within_window(now)
    # Fifty bits at three tries need no such help (thirty, for whoever has half of a slip), and whoever guesses at them must not
    # keep the handset or the office from sending another.
    wrong_at = () if PASSWORD_LENGTHS.get(purpose, 0) >= _LONG_PASSWORD else budget.wrong_at
    waits = [
        _until_below(wrong_at, rules.refuse_after_wrong, now),
        _until_below(tuple(at for at, _ in budget.issued), rules.issues_per_day, now),
    ]
    if any(waits):
        return Refused(OtpRefused.REASON_BUDGET_SPENT, max(waits))
    last = max((at for at, what in budget.issued if what == purpose), default=None)
    if last is not None and now < last + rules.cool_down:
        return Refused(OtpRefused.REASON_COOL_DOWN, last + rules.cool_down - now)
    if purpose in PASSWORD_LENGTHS:
        return Admitted(PASSWORD_LENGTHS[purpose])
    return Admitted(max(least_digits, rules.digits_after(len(budget.wrong_at))))


def _until_below(times: tuple[datetime, ...], limit: int, now: datetime) -> timedelta:
    """How long until fewer than `limit` of the times (oldest first) lie within the window; zero: it is so now."""
    if len(times) < limit:
        return timedelta(0)
    return times[len(times) - limit] + BUDGET_WINDOW - now
