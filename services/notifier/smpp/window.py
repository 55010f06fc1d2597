"""Submits without an answer: how many at most, and what each came to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.notifier.smpp.outcomes import Outcome


@dataclass(slots=True)
class _Pending:
    answer: asyncio.Future[Outcome]
    sent_at: float
    timer: asyncio.TimerHandle


class Window:
    """`size` places. A place is taken, then belongs to the submit on the wire until that is settled.

    `on_timeout` is called with the sequence and the time of a submit that is unanswered after `timeout_s`, and settles or
    extends it.
    """

    def __init__(self, size: int, timeout_s: float, on_timeout: Callable[[int, float], None]) -> None:
        self._places = asyncio.Semaphore(size)
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self._pending: dict[int, _Pending] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._pending

    @property
    def is_full(self) -> bool:
        return self._places.locked()

    async def take_place(self) -> None:
        await self._places.acquire()

    def give_place_back(self) -> None:
        """Nothing went on the wire."""
        self._places.release()

    def sent(self, sequence: int) -> asyncio.Future[Outcome]:
        """It goes on the wire now; the place is given back when it is settled."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        self._pending[sequence] = _Pending(answer, loop.time(), self._timer(sequence, loop.time()))
        self._idle.clear()
        return answer

    def extend(self, sequence: int) -> None:
        """As long again."""
        pending = self._pending[sequence]
        pending.timer = self._timer(sequence, pending.sent_at)

    def settle(self, sequence: int, outcome: Outcome) -> bool:
        """Whether it was still waited for."""
        pending = self._pending.pop(sequence, None)
        if pending is None:
            return False
        pending.timer.cancel()
        self._places.release()
        if not self._pending:
            self._idle.set()
        if not pending.answer.done():  # the caller may have been cancelled
            pending.answer.set_result(outcome)
        return True

    def settle_all(self, outcome: Outcome) -> None:
        for sequence in list(self._pending):
            self.settle(sequence, outcome)

    async def until_idle(self) -> None:
        await self._idle.wait()

    def _timer(self, sequence: int, sent_at: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._timeout_s, self._on_timeout, sequence, sent_at)
