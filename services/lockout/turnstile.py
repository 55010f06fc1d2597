"""Waiting for one of a subject's places: in order of arrival, woken by those that are freed here.

Places that are freed elsewhere (by the stream, by another replica) are found by looking again; only the first in the line
of a subject looks, so that a crowd costs the database no more than one.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from uuid import UUID

from services.chassis.errors import unavailable
from services.lockout.store import Admission, Full


class Turnstile:
    """One for a process. wait_s: longest wait; poll_s: how often the first in line looks."""

    def __init__(self, wait_s: float, poll_s: float) -> None:
        self._wait_s = wait_s
        self._poll_s = poll_s
        self._lines: defaultdict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._freed: defaultdict[UUID, asyncio.Event] = defaultdict(asyncio.Event)
        self._waiting: Counter[UUID] = Counter()

    def freed(self, subject_id: UUID) -> None:
        """A place of the subject was freed by this process."""
        if subject_id in self._freed:
            self._freed[subject_id].set()

    async def admit(self, subject_id: UUID, attempt: Callable[[], Awaitable[Admission]], at_most_s: float) -> Admission:
        """Tries until there is a place. Raises ServiceError UNAVAILABLE when the wait ends full: that is not a block."""
        until = time.monotonic() + min(self._wait_s, at_most_s)
        self._waiting[subject_id] += 1
        line = self._lines[subject_id]
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                await line.acquire()
        except TimeoutError:
            self._leave(subject_id)
            raise unavailable() from None
        except BaseException:
            self._leave(subject_id)
            raise
        try:
            return await self._first_in_line(subject_id, attempt, until)
        finally:
            line.release()
            self._leave(subject_id)

    async def _first_in_line(self, subject_id: UUID, attempt: Callable[[], Awaitable[Admission]], until: float) -> Admission:
        freed = self._freed[subject_id]
        while True:
            freed.clear()
            # Never under a timeout: an attempt that was admitted and not heard of would become a strike.
            outcome = await attempt()
            if not isinstance(outcome, Full):
                return outcome
            left = until - time.monotonic()
            if left <= 0:
                raise unavailable()
            try:
                async with asyncio.timeout(min(self._poll_s, left)):
                    await freed.wait()
            except TimeoutError:
                pass  # look again

    def _leave(self, subject_id: UUID) -> None:
        self._waiting[subject_id] -= 1
        if not self._waiting[subject_id]:
            del self._waiting[subject_id]
            self._lines.pop(subject_id, None)
            self._freed.pop(subject_id, None)
