"""Waiting in line."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from services.chassis.errors import ServiceError
from services.lockout.store import Admission, Admitted, Blocked, Full
from services.lockout.turnstile import Turnstile

SUBJECT = UUID(int=1)


class Places:
    """A subject's places, without a database."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.let_in: list[int] = []
        self.looks = 0

    async def admit(self, who: int) -> Admission:
        self.looks += 1
        await asyncio.sleep(0)
        if not self.free:
            return Full()
        self.free -= 1
        self.let_in.append(who)
        return Admitted(0, 0)


async def holds(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_they_are_let_in_in_the_order_in_which_they_came() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=10, longest_s=60, poll_s=10)
    waiting = [asyncio.create_task(turnstile.admit(SUBJECT, lambda n=n: places.admit(n), 60)) for n in range(20)]
    await holds(lambda: bool(places.looks))
    for _ in range(20):
        places.free += 1
        turnstile.freed(SUBJECT)
        await holds(lambda: not places.free)
    await asyncio.gather(*waiting)
    assert places.let_in == list(range(20))


async def test_only_the_first_in_line_looks() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=0.3, longest_s=60, poll_s=0.02)
    waits = [turnstile.admit(SUBJECT, lambda n=n: places.admit(n), 60) for n in range(50)]
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(result, ServiceError) for result in results)
    assert places.looks <= 2 + 0.3 / 0.02 + 50 / 10


async def test_a_place_that_is_freed_elsewhere_is_found_by_looking_again() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=10, longest_s=60, poll_s=0.005)
    waiting = asyncio.create_task(turnstile.admit(SUBJECT, lambda: places.admit(1), 60))
    await holds(lambda: places.looks >= 2)
    places.free = 1
    assert await asyncio.wait_for(waiting, 5) == Admitted(0, 0)


async def test_who_stands_in_a_line_that_moves_waits_on_past_the_wait_for_one_place() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=1, longest_s=60, poll_s=10)
    waiting = [asyncio.create_task(turnstile.admit(SUBJECT, lambda n=n: places.admit(n), 60)) for n in range(5)]
    for n in range(5):
        await asyncio.sleep(0.3)
        assert not waiting[n].done()
        places.free = 1
        turnstile.freed(SUBJECT)
        await waiting[n]
    assert places.let_in == list(range(5))


async def test_a_line_that_moves_and_then_stands_still_ends_for_all_who_are_in_it() -> None:
    places, turnstile = Places(free=1), Turnstile(wait_s=0.2, longest_s=60, poll_s=0.02)
    waits = [turnstile.admit(SUBJECT, lambda n=n: places.admit(n), 60) for n in range(20)]
    async with asyncio.timeout(10):
        first, *rest = await asyncio.gather(*waits, return_exceptions=True)
    assert first == Admitted(0, 0)
    assert all(isinstance(one, ServiceError) for one in rest)


async def test_the_longest_wait_bounds_it_in_a_line_that_moves_too() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=60, longest_s=0.1, poll_s=0.01)
    waiting = [asyncio.create_task(turnstile.admit(SUBJECT, lambda n=n: places.admit(n), 60)) for n in range(2)]
    async with asyncio.timeout(10):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.code.name for one in results if isinstance(one, ServiceError)] == ["UNAVAILABLE"] * 2


@pytest.mark.row("M21")
async def test_the_callers_own_patience_bounds_the_wait() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=60, longest_s=60, poll_s=0.01)
    async with asyncio.timeout(5):
        with pytest.raises(ServiceError) as met:
            await turnstile.admit(SUBJECT, lambda: places.admit(1), at_most_s=0.05)
    assert met.value.code.name == "UNAVAILABLE"
    assert met.value.retry_after is not None


async def test_who_leaves_the_line_keeps_nobody_waiting_and_nothing_is_left_behind() -> None:
    places, turnstile = Places(free=0), Turnstile(wait_s=10, longest_s=60, poll_s=10)
    waiting = [asyncio.create_task(turnstile.admit(SUBJECT, lambda n=n: places.admit(n), 60)) for n in range(3)]
    await holds(lambda: bool(places.looks))
    waiting[1].cancel()
    waiting[0].cancel()
    await asyncio.wait(waiting[:2])
    places.free = 1
    turnstile.freed(SUBJECT)
    assert await asyncio.wait_for(waiting[2], 5) == Admitted(0, 0)
    assert places.let_in == [2]
    assert not turnstile._lines


async def test_a_block_is_told_at_once_and_one_subject_holds_up_no_other() -> None:
    places, turnstile, since = Places(free=0), Turnstile(wait_s=10, longest_s=60, poll_s=10), datetime(2026, 3, 1, tzinfo=UTC)
    waiting = asyncio.create_task(turnstile.admit(SUBJECT, lambda: places.admit(1), 60))

    async def blocked() -> Admission:
        return Blocked(since, 1)

    assert await asyncio.wait_for(turnstile.admit(uuid4(), blocked, 60), 5) == Blocked(since, 1)
    waiting.cancel()
    await asyncio.wait({waiting})
