"""Waiting for one of a subject's places: in order of arrival, woken by those that are freed here.

Places that are freed elsewhere (by the stream, by another replica) are found by looking again; only the first in the line
of a subject looks, so that a crowd costs the database no more than one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from services.chassis.errors import unavailable
from services.chassis.keyed_locks import KeyedLocks
from services.lockout.store import Admission, Full


class Turnstile:
    """One for a process. wait_s: longest wait; poll_s: how often the first in line looks."""

    def __init__(self, wait_s: float, poll_s: float) -> None:
        self._wait_s = wait_s
        self._poll_s = poll_s
        self._lines = KeyedLocks()
        self._freed: dict[UUID, asyncio.Event] = {}

    def freed(self, subject_id: UUID) -> None:
        """A place of the subject was freed by this process."""
        if subject_id in self._freed:
            self._freed[subject_id].set()

    async def admit(self, subject_id: UUID, attempt: Callable[[], Awaitable[Admission]], at_most_s: float) -> Admission:
        """Tries until there is a place. Raises ServiceError UNAVAILABLE when the wait ends full: that is not a block."""
        until = time.monotonic() + min(self._wait_s, at_most_s)
        try:
            async with self._lines.hold(subject_id, timeout_s=until - time.monotonic()):
                return await self._first_in_line(subject_id, attempt, until)
        except TimeoutError:
            raise unavailable() from None

    async def _first_in_line(self, subject_id: UUID, attempt: Callable[[], Awaitable[Admission]], until: float) -> Admission:
        freed = self._freed[subject_id] = asyncio.Event()
        try:
            while True:
                freed.clear()
                # Never under a timeout: an attempt that was admitted and not heard of would become a strike.
                outcome = await attempt()
                if not isinstance(outcome, Full):
                    return outcome
                left = until - time.monotonic()
                if left <= 0:
                    raise unavailable()
                await _set_within(freed, min(self._poll_s, left))
        finally:
            del self._freed[subject_id]


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
