"""A guess at a permanent password, from reservation to answer: the auth side of the three-strike protocol.

Every guess goes this way, whatever for (M22): `Guesses.make` is the only caller of the verifier.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from zasov.events.v1.auth_event_pb2 import LoginRefused
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Origin

from services.auth import errors
from services.auth.accounts import Accounts, Loaded
from services.auth.domain import PasswordMoved, decide_failure, decide_refusal
from services.auth.passwords.admission import Admission, CaptchaRequired, Guarded, Lockout, OriginLimited, SignInBlocked
from services.auth.passwords.hashing import HashingLine, Place
from services.chassis.clock import DatabaseTime
from services.chassis.errors import bug, unavailable
from services.chassis.eventstore import Conflict, Fact
from services.chassis.keyed_locks import KeyedLocks
from services.chassis.protocol_trace import OFF, ProtocolTrace
from services.chassis.shielded import Shielded
from services.chassis.telemetry import logger

R = TypeVar("R")

# Each conflict is somebody else's progress; more of them than this at one account is overload.
_MOST_CONFLICTS = 50


@dataclass(frozen=True)
class Guess:
    """account_id: None for an identifier that resolves to nothing, which then is guarded as `guard_id` and published as
    `pseudonym`. may_start: asked when the turn has come; False once the caller's deadline has passed. captcha_settled: one was
    solved, or there is none to solve.
    """

    account_id: UUID | None
    guard_id: UUID
    pseudonym: UUID
    password: str
    origin: Origin
    time: DatabaseTime
    may_start: Callable[[], bool]
    captcha_settled: bool = False

    @property
    def known(self) -> bool:
        return self.account_id is not None

    @property
    def guarded(self) -> Guarded:
        return Guarded(self.account_id or self.guard_id, CREDENTIAL_PASSWORD, stranger=self.account_id is None)

    def __repr__(self) -> str:
        return "Guess(…)"


@dataclass(frozen=True, slots=True)
class Settled:
    """A right guess after its settling. forgiven: the failed attempts that came before it and go with it."""

    admission: Admission
    forgiven: tuple[UUID, ...]


class _BlockHolds(Exception):
    """Carries what was read to find that out: reading it again would take longer for an account than for a stranger."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.loaded = loaded


# What to do once a guess is right and settled: appends its facts on the account as given, or raises Conflict.
OnRight = Callable[[Loaded, Settled], Awaitable[R]]


class Guesses:
    """Evaluates guesses. All state is elsewhere. has_office: one may lift a block."""

    def __init__(
        self,
        accounts: Accounts,
        lockout: Lockout,
        line: HashingLine,
        shielded: Shielded,
        trace: ProtocolTrace = OFF,
        *,
        has_office: bool,
    ) -> None:
        self._accounts = accounts
        self._lockout = lockout
        self._line = line
        self._shielded = shielded
        self._turns = KeyedLocks()
        self._trace = trace
        self._has_office = has_office

    async def make(self, guess: Guess, place: Place, on_right: OnRight[R]) -> R:
        """What `on_right` answers. Raises ServiceError: rejected, blocked, limited, overloaded, or no outcome.

        From admission to settling the work goes on though the caller hangs up: he is neither struck for it nor spared.
        """
        place.take_for(guess.guarded.owner_id)
        task = self._shielded.start(self._make(guess, on_right))
        place.keep_until(task)
        return await asyncio.shield(task)

    async def _make(self, guess: Guess, on_right: OnRight[R]) -> R:
        async with self._line.turn():
            admission, loaded, right = await self._make_in_turn(guess)
        if not right:
            version = loaded.account.credential_version
            await self._record(guess, lambda: _failure_in_time(admission, version, guess), loaded)
            raise errors.credentials_rejected(admission.attempts_left)
        assert guess.known  # no guess at somebody unknown is right
        return await self._settle_right(guess, admission, loaded.account.account_id, on_right)

    async def _make_in_turn(self, guess: Guess) -> tuple[Admission, Loaded, bool]:
        """Admitted, and whether it is right."""
        if not guess.may_start():
            raise unavailable()
        try:
            admission, loaded = await self._admit_current_version(guess)
        except _BlockHolds as block:
            refusal = decide_refusal(LoginRefused.REASON_BLOCKED, CREDENTIAL_PASSWORD, guess.known)
            await self._record(guess, lambda: refusal, block.loaded)
            raise errors.sign_in_blocked(has_office=self._has_office) from None
        except OriginLimited as limited:
            # No event: the penalty is one, and an address that is refused must not be able to write as many as it likes.
            raise limited.error from None
        except CaptchaRequired:
            # No event either: what is turned away here may come in masses.
            raise errors.captcha_required() from None
        try:
            return admission, loaded, await self._evaluate(guess, admission, loaded)
        except BaseException:
            if not admission.spent:
                await self._lockout.give_back(guess.guarded, admission.attempt_id)
            raise

    async def _settle_right(self, guess: Guess, admission: Admission, account_id: UUID, on_right: OnRight[R]) -> R:
        """Rule 7: settled first, naming every failure that is stored by now; then appended; then answered."""
        async with self._turns.hold(account_id):
            loaded = await self._reload(account_id)
            forgiven = loaded.account.open_failures
            self._trace.write(
                "settling",
                subject=account_id,
                attempt=admission.attempt_id,
                forgiven=forgiven,
                account_version=loaded.account.version,
            )
            if not await self._lockout.settle_right(guess.guarded, admission.attempt_id, forgiven):
                raise unavailable()
            return await self._until_appended(guess, loaded, lambda current: on_right(current, Settled(admission, forgiven)))

    async def _admit_current_version(self, guess: Guess) -> tuple[Admission, Loaded]:
        """Rules 2 and 4: an admission whose epoch is the version of the password that was read with the hash."""
        for _ in range(3):
            try:
                admission = await self._lockout.admit(guess.guarded, guess.origin, guess.captcha_settled)
            except SignInBlocked as blocked:
                await self._lift_if_the_password_is_newer(guess, blocked)
                continue
            try:
                loaded = await self._load(guess)
            except BaseException:
                await self._lockout.give_back(guess.guarded, admission.attempt_id)
                raise
            version = loaded.account.credential_version
            if version == admission.epoch:
                return admission, loaded
            await self._lockout.give_back(guess.guarded, admission.attempt_id)
            if version < admission.epoch:
                # A restored backup: the operator's tool raises the version (docs/architecture.md, Scale).
                logger().error("credential older than lockout's epoch", stream_id=str(guess.guarded.owner_id), version=version)
                raise unavailable()
            await self._lockout.raise_epoch(guess.guarded, version)
        raise unavailable()

    async def _lift_if_the_password_is_newer(self, guess: Guess, blocked: SignInBlocked) -> None:
        """A block of an older version is only what lockout has not heard of yet. Raises _BlockHolds if it is not."""
        loaded = await self._load(guess)
        version = loaded.account.credential_version
        if version <= blocked.epoch:
            raise _BlockHolds(loaded)
        await self._lockout.raise_epoch(guess.guarded, version)

    async def _load(self, guess: Guess) -> Loaded:
        """By the same work for somebody unknown as for somebody known."""
        if guess.account_id is None:
            return await self._accounts.load_stranger(guess.pseudonym)
        return await self._reload(guess.account_id)

    async def _reload(self, account_id: UUID) -> Loaded:
        loaded = await self._accounts.load(account_id)
        if loaded is None:
            raise bug()
        return loaded

    async def _evaluate(self, guess: Guess, admission: Admission, loaded: Loaded) -> bool:
        sealed = loaded.account.password
        # Without a password, for nobody or until one is chosen after a one-time one, the same work is done for nothing.
        opened = loaded.vault.open_password(sealed) if sealed else ""
        hashed = opened if opened and guess.known else self._line.dummy_hash
        right = await self._line.verify(admission, lambda: guess.may_start() and admission.in_time(), hashed, guess.password)
        if right is None or not admission.in_time():
            # Never evaluated; or swept up soon, or already: a late outcome could be a fourth guess (rule 5).
            raise unavailable()
        right = right and guess.known and bool(sealed)
        self._trace.write(
            "evaluated",
            subject=guess.guarded.owner_id,
            attempt=admission.attempt_id,
            right=right,
            version=loaded.account.credential_version,
        )
        return right

    async def _record(self, guess: Guess, facts: Callable[[], list[Fact]], loaded: Loaded) -> None:
        """Appends to the account, or to the stranger's stream. A failure that cannot be stored is not answered."""

        async def append(current: Loaded) -> None:
            await self._accounts.append_guess(current.account, facts(), current.time.now(), guess.origin, known=guess.known)

        # Without taking turns, fifty requests for one account would each conflict with all others.
        async with self._turns.hold(loaded.account.account_id):
            await self._until_appended(guess, loaded, append)

    async def _until_appended(self, guess: Guess, loaded: Loaded, append: Callable[[Loaded], Awaitable[R]]) -> R:
        """Reloads and decides again as long as others append in between."""
        for _ in range(_MOST_CONFLICTS):
            try:
                return await append(loaded)
            except PasswordMoved:
                raise unavailable() from None
            except Conflict:
                loaded = await self._load(guess)
        raise unavailable()


def _failure_in_time(admission: Admission, version: int, guess: Guess) -> list[Fact]:
    """Asked again for every append: waiting for one's turn may take longer than an outcome is good for (rule 5)."""
    if not admission.in_time():
        raise unavailable()
    return decide_failure(admission.attempt_id, version, guess.known)
