"""Batches that are as large as what has come in meanwhile: an event that comes alone is handled at once.

Faust's own `take` gathers for a fixed time instead: every event waits for it, and an idle stream wakes up that often.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any


async def in_batches(
    stream: Any, wanted: Callable[[Any], bool], most: int, handle: Callable[[list[Any]], Awaitable[None]]
) -> None:
    """Hands the wanted events of a Faust stream to `handle`, in order, up to `most` at a time; ends with the stream.

    All are acknowledged in their order, each after the batch that it came in, wanted or not: Faust commits past a single
    event that is not acknowledged when later ones are. `handle` must not raise: its batch would come again only after a
    restart.
    """
    waiting: asyncio.Queue[Any] = asyncio.Queue(maxsize=most)

    async def work() -> None:
        while True:
            batch = [await waiting.get()]
            while len(batch) < most and not waiting.empty():
                batch.append(waiting.get_nowait())
            chosen = [event for event in batch if wanted(event)]
            if chosen:
                await handle(chosen)
            for event in batch:
                event.ack()

    async def read() -> None:
        async for event in stream.noack().events():
            await waiting.put(event)

    tasks = [asyncio.create_task(work()), asyncio.create_task(read())]
    try:
        # Whichever ends first, by whatever: the agent must not go on with half of this.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
