"""Waiting for one of a subject's places: in order of arrival, woken by those that are freed here.

Places that are freed elsewhere (by the stream, by another replica) are found by looking again; only the first in the line
of a subject looks, so that a crowd costs the database no more than one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

from services.chassis.errors import unavailable
from services.lockout.store import Admission, Full


@dataclass(slots=True)
class _Line:
    """Of one subject, while somebody stands in it. moved_at, full_at: when one was last let in, or found no place."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    moved_at: float = -inf
    full_at: float = -inf
    length: int = 0


class Turnstile:
    """One for a process.

    wait_s: longest wait for a line that does not move; longest_s: longest wait of all; poll_s: how often the first looks.
    """

    def __init__(self, wait_s: float, longest_s: float, poll_s: float) -> None:
        self._wait_s = wait_s
        self._longest_s = longest_s
        self._poll_s = poll_s
        self._lines: dict[UUID, _Line] = {}

    def freed(self, subject_id: UUID) -> None:
        """A place of the subject was freed by this process."""
        if subject_id in self._lines:
            self._lines[subject_id].freed.set()

    async def admit(self, subject_id: UUID, attempt: Callable[[], Awaitable[Admission]], at_most_s: float) -> Admission:
        """Tries until there is a place. Raises ServiceError UNAVAILABLE when the wait ends full: that is not a block."""
        arrived_at = time.monotonic()
        last_at = arrived_at + min(self._longest_s, at_most_s)
        with self._line(subject_id) as line:
            try:
                async with asyncio.timeout(last_at - arrived_at):
                    await line.turn.acquire()
            except TimeoutError:
                raise unavailable() from None
            try:
                until = min(max(arrived_at, line.moved_at) + self._wait_s, last_at)
                return await self._first_in_line(line, attempt, until)
            finally:
                line.turn.release()

    async def _first_in_line(self, line: _Line, attempt: Callable[[], Awaitable[Admission]], until: float) -> Admission:
        if self._just_found_full(line) and time.monotonic() >= until:
            raise unavailable()
        while True:
            line.freed.clear()
            # Never under a timeout: an attempt that was admitted and not heard of would become a strike.
            outcome = await attempt()
            if not isinstance(outcome, Full):
                line.moved_at = time.monotonic()
                return outcome
            line.full_at = time.monotonic()
            left = until - line.full_at
            if left <= 0:
                raise unavailable()
            await _set_within(line.freed, min(self._poll_s, left))

    def _just_found_full(self, line: _Line) -> bool:
        """By the one before, whose patience ended too: who has waited as long need not look again."""
        return time.monotonic() - line.full_at < self._poll_s and not line.freed.is_set()

    @contextmanager
    def _line(self, subject_id: UUID) -> Iterator[_Line]:
        line = self._lines.setdefault(subject_id, _Line())
        line.length += 1
        try:
            yield line
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[subject_id]


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
