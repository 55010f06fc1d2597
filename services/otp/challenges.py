"""Issuing, checking and cancelling codes: what the domain decides, done in transactions."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, TypeVar
from uuid import UUID, uuid4

from google.protobuf.message import Message
from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import OtpEvent, OtpRefused

from services.chassis.clock import DatabaseTime
from services.chassis.errors import unavailable
from services.chassis.eventstore import Conflict, Fact, StoredEvents, stamp
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.sealing import Seal
from services.chassis.telemetry import logger
from services.otp import domain, errors
from services.otp.brake import Spray
from services.otp.codes import PASSWORD_LENGTHS, CodeKey, impossible_mac, new_code, new_password, new_tag
from services.otp.deliveries import Destination, Parcel
from services.otp.domain import Challenge, CheckMade, GiveWay, IssuedSecret, Lapse, Purpose, Refused, Rules, State
from services.otp.store import Issuing, Row, Store

T = TypeVar("T")

# A challenge has few writers (its checks, a newer code, the sweep); more conflicts in a row than this are a bug.
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Binding:
    """What a code is bound to: it opens nothing else."""

    subject_id: UUID
    flow_id: UUID
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Issued:
    challenge_id: UUID
    digits: int
    tag: str
    expires_at: datetime
    ask_again_at: datetime


class Outcome(Enum):
    RIGHT = auto()
    WRONG = auto()
    DEAD = auto()
    VOIDED = auto()


@dataclass(frozen=True, slots=True)
class Checked:
    outcome: Outcome
    tries_left: int


@dataclass(frozen=True, slots=True)
class Shown:
    state: State
    tries_left: int
    expires_at: datetime
    sent: bool


class Challenges:
    def __init__(
        self, store: Store, rules: Rules, key: CodeKey, seal: Seal, waker: OutboxWaker, decoy_sent_after: timedelta
    ) -> None:
        self._store = store
        self._rules = rules
        self._key = key
        self._seal = seal
        self._waker = waker
        self._decoy_sent_after = decoy_sent_after
        self._under_way: set[asyncio.Task[Any]] = set()

    async def issue(
        self,
        binding: Binding,
        destination: Destination,
        origin: Origin | None,
        least_digits: int = 0,
        first_half: str = "",
        *,
        is_decoy: bool = False,
    ) -> Issued:
        """first_half: of a slip's password; what is sent is the rest. is_decoy: never sent and never right. Raises
        ServiceError COOL_DOWN or CODE_BUDGET_SPENT, with the refusal committed.
        """
        for _ in range(_ATTEMPTS):
            try:
                # The transaction ends, and keeps what it wrote, before a refusal is raised.
                async with self._store.issuing(binding.subject_id) as issuing:
                    result, spray = await self._issue(issuing, binding, destination, origin, least_digits, first_half, is_decoy)
            except Conflict:
                continue
            self._waker.wake()
            await self._brake(spray)
            if isinstance(result, Refused):
                is_cool_down = result.reason == OtpRefused.REASON_COOL_DOWN
                raise errors.cool_down(result.retry_in) if is_cool_down else errors.code_budget_spent(result.retry_in)
            return result
        raise unavailable()

    async def _issue(
        self,
        issuing: Issuing,
        binding: Binding,
        destination: Destination,
        origin: Origin | None,
        least_digits: int,
        first_half: str,
        is_decoy: bool,
    ) -> tuple[Issued | Refused, Spray]:
        budget = await issuing.lock()
        now, spray, older = await issuing.open_of_flow(binding.flow_id)
        verdict = domain.admit(budget, binding.purpose, self._rules, now, max(least_digits, spray.least_digits))
        if isinstance(verdict, Refused):
            refusal = Fact(OtpRefused(reason=verdict.reason, purpose=binding.purpose), is_public=not is_decoy)
            # A stream of its own: the subject's id must not be an event's (rule 4), and there is no challenge.
            await issuing.insert(stamp(OtpEvent, uuid4(), 0, [refusal], now, origin))
            return verdict, spray
        if older is not None:
            facts = domain.decide(older.challenge, GiveWay(), now)
            await issuing.append(*_change(older, facts, now, origin))
        is_password = binding.purpose in PASSWORD_LENGTHS
        code = new_password(verdict.digits - len(first_half)) if is_password else new_code(verdict.digits)
        challenge_id, tag = uuid4(), new_tag()
        mac = self._key.mac(challenge_id, first_half + code)
        secret = IssuedSecret(
            binding.subject_id, binding.flow_id, self._rules.tries, is_decoy, impossible_mac() if is_decoy else mac
        )
        expires_at = now + self._rules.lifetime_of(binding.purpose)
        fact = domain.issued(binding.purpose, verdict.digits, expires_at, is_decoy=is_decoy)
        challenge = domain.evolve(None, fact, now, secret)
        # Public for a decoy too: the limits on an origin count what was asked for, or they would tell who is known.
        events = stamp(OtpEvent, challenge_id, 0, [Fact(fact, seal_secret(self._seal, challenge_id, secret))], now, origin)
        parcel = Parcel(destination, code, tag)
        budget = budget.within_window(now).with_issued(now, binding.purpose)
        await issuing.open(challenge, budget, parcel.seal(self._seal, challenge_id), events)
        await issuing.count(now)
        return Issued(challenge_id, verdict.digits, tag, challenge.expires_at, now + self._rules.cool_down), spray

    async def verify(
        self, challenge_id: UUID, binding: Binding, code: str, origin: Origin | None, *, without_grant: bool = False
    ) -> Checked:
        """At most `tries` checks of a challenge are ever made, and as many for all who hold no grant of its flow, whatever the
        parallelism; one of them at most is RIGHT.
        """
        return await self._to_the_end(self._verify(challenge_id, binding, code, origin, without_grant))

    async def _verify(
        self, challenge_id: UUID, binding: Binding, code: str, origin: Origin | None, without_grant: bool
    ) -> Checked:
        begun = await self._store.begin_check(
            challenge_id, binding.subject_id, binding.flow_id, binding.purpose, self._rules.wrong_limits(), without_grant
        )
        if begun is None:
            return Checked(Outcome.DEAD, 0)
        if begun.voided:
            await self._brake(begun.spray)
            return Checked(Outcome.VOIDED, 0)
        # From here on the check counts.
        row = begun.row
        right = self._key.is_right(challenge_id, code, row.challenge.code_mac)
        check = CheckMade(right, without_grant)
        settled = await self._settle(row, check, DatabaseTime.just_read(begun.counted_at), origin)
        if right:
            await self._store.give_back(binding.subject_id, begun.counted_at)
        if right and settled is not None:
            return Checked(Outcome.RIGHT, 0)
        if right or settled is None:
            return Checked(Outcome.DEAD, 0)
        return Checked(Outcome.WRONG, row.challenge.max_tries - row.tries if settled.state is State.OPEN else 0)

    async def _settle(self, row: Row, check: CheckMade, clock: DatabaseTime, origin: Origin | None) -> Challenge | None:
        """The challenge with the outcome recorded; None: a right code that came second, or too late."""
        for _ in range(_ATTEMPTS):
            now = clock.now()
            facts = domain.decide(row.challenge, check, now)
            if not facts:
                return None
            challenge, events = _change(row, facts, now, origin)
            try:
                await self._store.append(challenge, events)
            except Conflict:
                loaded = await self._store.load(row.id)
                assert loaded is not None  # challenges are not deleted
                row = loaded[1]
                continue
            # For a decoy too, of which there is nothing to publish: waking takes time.
            self._waker.wake()
            return challenge
        raise unavailable()

    async def _brake(self, spray: Spray) -> None:
        """Holds and tells what the counts have decided already."""
        if spray.trips and await self._store.trip(spray.counted) is not None:
            logger().warning("codes are longer for all", digits=spray.counted)
            self._waker.wake()

    async def cancel(self, challenge_id: UUID, subject_id: UUID) -> None:
        """Idempotent; somebody else's challenge is left alone."""
        for _ in range(_ATTEMPTS):
            loaded = await self._store.load(challenge_id)
            if loaded is None or loaded[1].challenge.subject_id != subject_id:
                return
            now, row = loaded
            facts = domain.decide(row.challenge, GiveWay(), now)
            if not facts:
                return
            challenge, events = _change(row, facts, now, None)
            try:
                await self._store.append(challenge, events)
            except Conflict:
                continue
            self._waker.wake()
            return
        raise unavailable()

    async def show(self, challenge_id: UUID) -> Shown:
        """Raises ServiceError CHALLENGE_UNKNOWN."""
        sent = await self._store.is_reported_sent(challenge_id)
        loaded = await self._store.load(challenge_id)
        if loaded is None:
            raise errors.challenge_unknown()
        now, row = loaded
        challenge, state = row.challenge, row.challenge.state
        tries_left = challenge.max_tries - row.tries
        if state is State.OPEN and now >= challenge.expires_at:
            state = State.EXPIRED  # the sweep has not come to it yet
        elif state is State.OPEN and tries_left == 0:
            state = State.EXHAUSTED  # the last check is under way, or its process died
        if challenge.is_decoy:
            # Nobody ever reports it; for ever unsent it would tell that the subject is unknown.
            sent = now >= challenge.issued_at + self._decoy_sent_after
        return Shown(state, tries_left if state is State.OPEN else 0, challenge.expires_at, sent)

    async def drained(self) -> None:
        """Returns when no check is under way any more."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """A caller who hangs up must not keep a counted check from being recorded."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the caller has it, or has gone


def lapse(row: Row, now: datetime) -> tuple[Challenge, StoredEvents] | None:
    """For the sweep: the change that the end of its time makes to a challenge, if it makes one."""
    facts = domain.decide(row.challenge, Lapse(), now)
    return _change(row, facts, now, None) if facts else None


def seal_secret(seal: Seal, challenge_id: UUID, secret: IssuedSecret) -> bytes:
    return seal.close(secret.to_bytes(), _secret_context(challenge_id))


def unseal_secret(seal: Seal, challenge_id: UUID, sealed: bytes) -> IssuedSecret:
    """Raises UnsealError."""
    return IssuedSecret.from_bytes(seal.open(sealed, _secret_context(challenge_id)))


def _secret_context(challenge_id: UUID) -> bytes:
    # Not the delivery's context: with the same key, one must not pass for the other.
    return b"OtpIssued:" + challenge_id.bytes


def _change(row: Row, facts: list[Message], now: datetime, origin: Origin | None) -> tuple[Challenge, StoredEvents]:
    challenge = row.challenge
    for fact in facts:
        challenge = domain.evolve(challenge, fact, now)
    # What becomes of a decoy stays here.
    stored = [Fact(fact, is_public=not challenge.is_decoy) for fact in facts]
    return challenge, stamp(OtpEvent, row.id, row.version, stored, now, origin)
