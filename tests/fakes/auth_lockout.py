"""A Lockout (services/auth/passwords/admission.py) in memory: what it was asked, in order, and switches for what goes wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from zasov.events.v1.meta_pb2 import Origin

from services.auth.passwords.admission import Admission, Guarded, SignInBlocked
from services.chassis.clock import boottime


@dataclass
class FakeLockout:
    """steps: shared with other fakes, so that their common order can be read off.

    epoch: what the next admission is of; raised by raise_epoch if that is higher. refuse: raised by admit.
    blocked_until_epoch: a lower one is blocked. settles: what settle_right answers. fail_give_back: raised by give_back, after
    it was noted.
    """

    steps: list[str] = field(default_factory=list)
    epoch: int = 1
    attempts_left: int = 2
    outcome_within_s: float = 30.0
    refuse: BaseException | None = None
    blocked_until_epoch: int = 0
    settles: bool = True
    deaf: bool = False
    fail_give_back: BaseException | None = None
    fail_settle: BaseException | None = None
    guarded: list[Guarded] = field(default_factory=list)
    admissions: list[Admission] = field(default_factory=list)
    given_back: list[UUID] = field(default_factory=list)
    settled: list[tuple[UUID, tuple[UUID, ...]]] = field(default_factory=list)

    @property
    def open(self) -> set[UUID]:
        """Attempts that still hold a place."""
        gone = {*self.given_back, *(attempt for attempt, _ in self.settled)}
        return {admission.attempt_id for admission in self.admissions} - gone

    async def admit(self, guarded: Guarded, origin: Origin, captcha_settled: bool = False) -> Admission:
        self.steps.append("admit")
        self.guarded.append(guarded)
        if self.refuse is not None:
            raise self.refuse
        if self.epoch < self.blocked_until_epoch:
            raise SignInBlocked(self.epoch)
        admission = Admission(uuid4(), self.epoch, self.attempts_left, boottime() + self.outcome_within_s)
        self.admissions.append(admission)
        return admission

    async def give_back(self, guarded: Guarded, attempt_id: UUID) -> None:
        self.steps.append("give_back")
        self.given_back.append(attempt_id)
        if self.fail_give_back is not None:
            raise self.fail_give_back

    async def settle_right(self, guarded: Guarded, attempt_id: UUID, earlier: Sequence[UUID]) -> bool:
        self.steps.append("settle_right")
        if self.fail_settle is not None:
            raise self.fail_settle
        if self.settles:
            self.settled.append((attempt_id, tuple(earlier)))
        return self.settles

    async def raise_epoch(self, guarded: Guarded, epoch: int) -> None:
        self.steps.append("raise_epoch")
        if not self.deaf:
            self.epoch = max(self.epoch, epoch)

    async def check_origin(self, origin: Origin) -> int:
        self.steps.append("check_origin")
        if self.refuse is not None:
            raise self.refuse
        return 0
