"""A guess at a permanent password, from reservation to answer: the auth side of the three-strike protocol.

Every guess goes this way, whatever for (M22): `Guesses.make` is the only caller of the verifier.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from zasov.events.v1.auth_event_pb2 import LoginRefused
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Origin

from services.auth import errors
from services.auth.accounts import Accounts, Loaded
from services.auth.admission import Admission, Guarded, Lockout, OriginLimited, SignInBlocked
from services.auth.domain import PasswordMoved, decide_failure, decide_refusal
from services.auth.hashing import HashingLine, Place
from services.chassis.clock import DatabaseTime
from services.chassis.errors import bug, unavailable
from services.chassis.eventstore import Conflict, Fact
from services.chassis.keyed_locks import KeyedLocks
from services.chassis.telemetry import logger

R = TypeVar("R")

# Each conflict is somebody else's progress; more of them than this at one account is overload.
_MOST_CONFLICTS = 50


@dataclass(frozen=True)
class Guess:
    """account_id: None for an identifier that resolves to nothing, which then is guarded as `guard_id` and published as
    `pseudonym`. may_start: asked when the turn has come; False once the caller's deadline has passed.
    """

    account_id: UUID | None
    guard_id: UUID
    pseudonym: UUID
    password: str
    origin: Origin
    time: DatabaseTime
    may_start: Callable[[], bool]

    @property
    def known(self) -> bool:
        return self.account_id is not None

    @property
    def guarded(self) -> Guarded:
        return Guarded(self.account_id or self.guard_id, CREDENTIAL_PASSWORD, stranger=self.account_id is None)

    def __repr__(self) -> str:
        return "Guess(…)"


# What to do once a guess is right and settled: appends its facts on the account as given, or raises Conflict.
OnRight = Callable[[Loaded, Admission], Awaitable[R]]


class Guesses:
    """Evaluates guesses. All state is elsewhere."""

    def __init__(self, accounts: Accounts, lockout: Lockout, line: HashingLine) -> None:
        self._accounts = accounts
        self._lockout = lockout
        self._line = line
        self._turns = KeyedLocks()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def make(self, guess: Guess, place: Place, on_right: OnRight[R]) -> R:
        """What `on_right` answers. Raises ServiceError: rejected, blocked, limited, overloaded, or no outcome.

        From admission to settling the work goes on though the caller hangs up: he is neither struck for it nor spared.
        """
        place.take_for(guess.guarded.owner_id)
        task = asyncio.create_task(self._make(guess, on_right))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        place.keep_until(task)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Waits for what goes on although its caller has gone."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # the caller has it, or has gone

    async def _make(self, guess: Guess, on_right: OnRight[R]) -> R:
        try:
            admission, loaded = await self._admit_current_version(guess)
        except SignInBlocked:
            await self._record(guess, lambda: decide_refusal(LoginRefused.REASON_BLOCKED, CREDENTIAL_PASSWORD, guess.known))
            raise errors.sign_in_blocked() from None
        except OriginLimited as limited:
            await self._record(
                guess, lambda: decide_refusal(LoginRefused.REASON_ORIGIN_LIMITED, CREDENTIAL_PASSWORD, guess.known)
            )
            raise limited.error from None
        try:
            right = await self._evaluate(guess, admission, loaded)
        except BaseException:
            if not admission.spent:
                await self._lockout.give_back(guess.guarded, admission.attempt_id)
            raise
        if loaded is None or not right:
            version = loaded.account.credential_version if loaded else 0
            await self._record(guess, lambda: decide_failure(admission.attempt_id, version, guess.known), loaded)
            raise errors.credentials_rejected(admission.attempts_left)
        if not await self._lockout.settle_right(guess.guarded, admission.attempt_id, loaded.account.open_failures):
            raise unavailable()
        return await self._until_appended(loaded, lambda current: on_right(current, admission))

    async def _admit_current_version(self, guess: Guess) -> tuple[Admission, Loaded | None]:
        """Rules 2 and 4: an admission whose epoch is the version of the password that was read with the hash."""
        for _ in range(3):
            admission = await self._lockout.admit(guess.guarded, guess.origin)
            try:
                loaded = await self._load(guess)
            except BaseException:
                await self._lockout.give_back(guess.guarded, admission.attempt_id)
                raise
            version = loaded.account.credential_version if loaded else 0
            if version == admission.epoch:
                return admission, loaded
            await self._lockout.give_back(guess.guarded, admission.attempt_id)
            if version < admission.epoch:
                # A restored backup: the operator's tool raises the version (02-architecture, Scale).
                logger().error("credential older than lockout's epoch", stream_id=str(guess.guarded.owner_id), version=version)
                raise unavailable()
            await self._lockout.raise_epoch(guess.guarded, version)
        raise unavailable()

    async def _load(self, guess: Guess) -> Loaded | None:
        if guess.account_id is None:
            # As many round trips as for somebody known.
            await self._accounts.stranger_version(guess.pseudonym)
            return None
        loaded = await self._accounts.load(guess.account_id)
        if loaded is None:
            raise bug()
        return loaded

    async def _evaluate(self, guess: Guess, admission: Admission, loaded: Loaded | None) -> bool:
        hashed = loaded.vault.open_password(loaded.account.password) if loaded else self._line.dummy_hash
        right = await self._line.verify(admission, lambda: guess.may_start() and admission.in_time(), hashed, guess.password)
        if right is None or not admission.in_time():
            # Never evaluated; or swept up soon, or already: a late outcome could be a fourth guess (rule 5).
            raise unavailable()
        return right

    async def _record(self, guess: Guess, facts: Callable[[], list[Fact]], loaded: Loaded | None = None) -> None:
        """Appends to the account, or to the stranger's stream. A failure that cannot be stored is not answered."""
        if guess.account_id is None:
            await self._record_stranger(guess, facts())
            return
        loaded = loaded or await self._load(guess)
        assert loaded is not None

        async def append(current: Loaded) -> None:
            await self._accounts.append(current.account, facts(), current.time.now(), guess.origin)

        await self._until_appended(loaded, append)

    async def _record_stranger(self, guess: Guess, facts: Sequence[Fact]) -> None:
        async with self._turns.hold(guess.pseudonym):
            for _ in range(_MOST_CONFLICTS):
                version = await self._accounts.stranger_version(guess.pseudonym)
                try:
                    await self._accounts.append_stranger(guess.pseudonym, version, facts, guess.time.now(), guess.origin)
                    return
                except Conflict:
                    continue
        raise unavailable()

    async def _until_appended(self, loaded: Loaded, append: Callable[[Loaded], Awaitable[R]]) -> R:
        """Reloads and decides again as long as others append in between."""
        account_id = loaded.account.account_id
        # Without this, fifty requests for one account would each conflict with all others.
        async with self._turns.hold(account_id):
            for _ in range(_MOST_CONFLICTS):
                try:
                    return await append(loaded)
                except PasswordMoved:
                    raise unavailable() from None
                except Conflict:
                    reloaded = await self._accounts.load(account_id)
                    if reloaded is None:
                        raise bug() from None
                    loaded = reloaded
        raise unavailable()
