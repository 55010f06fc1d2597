"""Argon2id (RFC 9106) behind a bounded line: overload is refused before it can cost anybody a strike."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.auth.passwords.admission import Admission
from services.chassis.errors import overloaded

T = TypeVar("T")

# How many a thread may have let in and not yet hashed: it must find the next one ready. What is made ready for seconds later
# takes from those who are hashed now, and from those who are only refused.
_READY = 8
# Nobody keeps others out for longer: who waits for lockout, which may take seconds, has no need of a thread.
_LONGEST_TURN_S = 0.25


class Place:
    """A reserved place in the line, not a thread. A context manager; leaving it frees the place once its work has ended."""

    def __init__(self, line: "HashingLine") -> None:
        self._line = line
        self._subject: UUID | None = None
        self._work: asyncio.Future[Any] | None = None

    def take_for(self, subject: UUID) -> None:
        """Raises ServiceError RESOURCE_EXHAUSTED when one subscriber has taken a share of the line that is too large."""
        self._line.count_subject(subject)
        self._subject = subject

    def keep_until(self, work: "asyncio.Future[Any]") -> None:
        """Work that goes on without its caller is still in the line: else hanging up would be a way past its end."""
        self._work = work

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *_: object) -> None:
        if self._work is None or self._work.done():
            self._line.leave(self._subject)
        else:
            self._work.add_done_callback(lambda _: self._line.leave(self._subject))


class HashingLine:
    """One thread a core; `places` requests at most, `per_subject` of them and half of what others leave for one subscriber."""

    def __init__(self, hasher: PasswordHasher, threads: int, places: int, per_subject: int) -> None:
        self._hasher = hasher
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._places = places
        self._per_subject = per_subject
        self._taken = 0
        self._by_subject: Counter[UUID] = Counter()
        self._seconds_a_hash = 0.02
        self._turns = asyncio.Semaphore(_READY * threads)
        # What a guess at somebody unknown is tested against: same parameters, same time.
        self.dummy_hash = hasher.hash("nobody's password")

    def reserve(self) -> Place:
        """Raises ServiceError RESOURCE_EXHAUSTED with a retry time when the line is full. Costs nothing else."""
        self.refuse_if_full()
        self._taken += 1
        return Place(self)

    def refuse_if_full(self) -> None:
        """Raises ServiceError RESOURCE_EXHAUSTED with a retry time."""
        if self._taken >= self._places:
            raise overloaded(self._until_free())

    def count_subject(self, subject: UUID) -> None:
        """Of one's own reserved place. Half of what the others leave is one's share: so a few can never fill the line."""
        held = self._by_subject[subject]
        others = self._taken - 1 - held
        share = max(1, (self._places - others) // 2)
        if held >= min(self._per_subject, share):
            raise overloaded(self._until_free())
        self._by_subject[subject] += 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Holds back a crowd that comes at once, in the order of asking: what lies between a place and the end of its hash is
        done for a few at a time. A turn is over when the body has ended, or has taken longer than a turn may.
        """
        over = False

        def end() -> None:
            nonlocal over
            if not over:
                over = True
                self._turns.release()

        await self._turns.acquire()
        too_long = asyncio.get_running_loop().call_later(_LONGEST_TURN_S, end)
        try:
            yield
        finally:
            too_long.cancel()
            end()

    def leave(self, subject: UUID | None) -> None:
        self._taken -= 1
        if subject is not None:
            self._by_subject[subject] -= 1
            if not self._by_subject[subject]:
                del self._by_subject[subject]

    async def verify(self, admission: Admission, may_start: Callable[[], bool], hashed: str, password: str) -> bool | None:
        """Whether the password is right; None: its turn came when `may_start` said no, and it was never evaluated.

        The admission is spent by it: one admitted attempt is one evaluation.
        """

        def evaluate() -> bool | None:
            if not may_start():
                return None
            admission.spend()
            try:
                return self._timed(lambda: self._hasher.verify(hashed, password))
            except VerifyMismatchError:
                return False

        return await self._in_thread(evaluate)

    async def hash(self, place: Place, password: str) -> str:
        """Hashes a new password; the caller holds a place."""
        return await self._in_thread(lambda: self._timed(lambda: self._hasher.hash(password)))

    async def matches(self, place: Place, hashed: str, password: str) -> bool:
        """Whether it is the password of a hash that nobody signs in with; the caller holds a place, and counts the guess."""

        def verified() -> bool:
            try:
                return self._timed(lambda: self._hasher.verify(hashed, password))
            except VerifyMismatchError:
                return False

        return await self._in_thread(verified)

    def needs_rehash(self, hashed: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """In the order of asking. All of `work` runs on the thread: the next hash doesn't wait for a busy event loop."""
        # With the caller's context, as asyncio.to_thread has it: his deadline is in there.
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)

    def _timed(self, hashing: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return hashing()
        finally:
            # Several threads may do so at once; one that gets lost is one sample fewer.
            self._seconds_a_hash += 0.05 * (time.perf_counter() - started - self._seconds_a_hash)

    def _until_free(self) -> timedelta:
        return timedelta(seconds=max(0.1, self._taken * self._seconds_a_hash / self._threads))
