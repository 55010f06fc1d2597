"""What Faust may commit is decided by what is acknowledged, and in which order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import pytest

from services.lockout.batches import in_batches

pytestmark = pytest.mark.row("B1")


class Event:
    def __init__(self, name: str, acked: list[str]) -> None:
        self.name = name
        self._acked = acked

    def ack(self) -> None:
        self._acked.append(self.name)


class Stream:
    """Stands for a Faust stream: yields what is put, for ever."""

    def __init__(self) -> None:
        self.acked: list[str] = []
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.all_read = asyncio.Event()

    def put(self, *names: str) -> None:
        self.all_read.clear()
        for name in names:
            self._events.put_nowait(Event(name, self.acked))

    def noack(self) -> Self:
        return self

    async def events(self) -> AsyncIterator[Event]:
        while True:
            if self._events.empty():
                self.all_read.set()
            yield await self._events.get()


async def test_nothing_is_acknowledged_past_an_event_that_is_still_being_handled() -> None:
    stream, go_on, handled = Stream(), asyncio.Event(), []

    async def handle(batch: list[Any]) -> None:
        await go_on.wait()
        handled.append([event.name for event in batch])

    stream.put("wanted 1")
    running = asyncio.create_task(in_batches(stream, lambda event: event.name.startswith("wanted"), 10, handle))
    await stream.all_read.wait()
    stream.put("other 2", "other 3", "wanted 4")
    await stream.all_read.wait()
    assert stream.acked == []
    go_on.set()
    async with asyncio.timeout(5):
        while len(stream.acked) < 4:  # noqa: ASYNC110  # acknowledging wakes nobody
            await asyncio.sleep(0)
    assert stream.acked == ["wanted 1", "other 2", "other 3", "wanted 4"]
    assert handled == [["wanted 1"], ["wanted 4"]]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_handler_that_raises_acknowledges_nothing_and_ends_the_agent() -> None:
    stream = Stream()

    async def handle(batch: list[Any]) -> None:
        raise ValueError

    stream.put("wanted")
    with pytest.raises(ValueError):  # noqa: PT011
        await in_batches(stream, lambda event: True, 10, handle)
    assert stream.acked == []
