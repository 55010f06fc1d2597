"""Awaiting what happens elsewhere, for tests with an event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(what: str, condition: Callable[[], Awaitable[T]], timeout_s: float = 15.0) -> T:
    """The condition's first true value; fails with `what` if there is none in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not (value := await condition()):  # noqa: ASYNC110  # another process's doing wakes nobody here
                await asyncio.sleep(0.01)
            return value
    except TimeoutError:
        raise AssertionError(f"{what}: not within {timeout_s:g} s") from None
