"""Argon2id (RFC 9106) behind a bounded line: overload is refused before it can cost anybody a strike."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.auth.passwords.admission import Admission
from services.chassis.errors import overloaded

T = TypeVar("T")

# How many hashes of each thread may be let in at once, and how much faster than they are hashed after that: a thread must
# find the next one ready, and to have ready what comes seconds later takes from those who are hashed now.
_READY = 8
_AHEAD = 1.5


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
        self._next_turn = 0.0
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

    async def turn(self) -> None:
        """Waits until it makes sense to begin. What a crowd has admitted and read for it would wait long for a thread, and
        all at once it keeps everybody else waiting, those too who are only refused.
        """
        if (wait := self._until_turn(time.monotonic())) > 0:
            await asyncio.sleep(wait)

    def _until_turn(self, now: float) -> float:
        """Seconds. Taking a turn, in the order of asking (GCRA)."""
        apart = self._seconds_a_hash / self._threads / _AHEAD
        turn = max(self._next_turn, now - apart * (_READY * self._threads - 1))
        self._next_turn = turn + apart
        return turn - now

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
