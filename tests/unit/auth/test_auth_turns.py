"""Guesses are let in by turns: what the last of a crowd need much later keeps nobody waiting now (ADR 36)."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from zasov.lockout.v1.lockout_service_pb2 import OriginLimited as LimitedAnswer

from services.auth.passwords import hashing
from services.auth.passwords.admission import OriginLimited
from services.chassis.errors import ServiceError
from tests.unit.auth.conftest import Bench, until

pytestmark = pytest.mark.row("M21")

# Of one thread.
LET_IN = hashing._READY


@pytest.fixture
def longest_turn(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    return lambda seconds: monkeypatch.setattr(hashing, "_LONGEST_TURN_S", seconds)


async def crowd(bench: Bench) -> list[asyncio.Task[Any]]:
    """Two more than are let in at once, each at a number of its own that nobody has."""
    bench.lockout.epoch = 0
    guesses = []
    for _ in range(LET_IN + 2):
        bench.guard = uuid4()
        guesses.append(asyncio.create_task(bench.guess(known=False)))
        await asyncio.sleep(0)
    return guesses


async def reasons(guesses: list[asyncio.Task[Any]]) -> set[str]:
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*guesses, return_exceptions=True)
    return {answer.reason for answer in answers if isinstance(answer, ServiceError)}


async def test_a_crowd_of_guesses_is_not_admitted_all_at_once(bench: Bench, longest_turn: Callable[[float], None]) -> None:
    longest_turn(60.0)
    bench.hasher.gate.clear()
    guesses = await crowd(bench)
    await until(lambda: bench.steps.count("load") == LET_IN)
    assert (bench.steps.count("reserve"), bench.steps.count("admit")) == (LET_IN + 2, LET_IN)
    bench.hasher.gate.set()
    assert await reasons(guesses) == {"CREDENTIALS_REJECTED"}
    assert bench.steps.count("admit") == LET_IN + 2, "whose turn came after them"


async def test_whoever_is_refused_without_a_hash_holds_nobody_back(bench: Bench, longest_turn: Callable[[float], None]) -> None:
    longest_turn(8.0)
    bench.lockout.refuse = OriginLimited(LimitedAnswer(retry_after=Duration(seconds=30)))
    assert await reasons(await crowd(bench)) == {"ORIGIN_LIMITED"}


async def test_whoever_waits_long_for_lockout_holds_nobody_back(bench: Bench, longest_turn: Callable[[float], None]) -> None:
    longest_turn(0.01)
    bench.hasher.gate.clear()
    guesses = await crowd(bench)
    await until(lambda: bench.steps.count("load") == LET_IN + 2)
    bench.hasher.gate.set()
    assert await reasons(guesses) == {"CREDENTIALS_REJECTED"}


async def test_who_has_no_time_left_when_the_turn_comes_is_never_admitted(bench: Bench) -> None:
    bench.may_start = lambda: False
    with pytest.raises(ServiceError) as caught:
        await bench.guess()
    assert (caught.value.code.name, bench.steps) == ("UNAVAILABLE", ["reserve"])


async def test_a_turn_ends_once_by_its_end_or_by_its_length(new_line: Any, longest_turn: Callable[[float], None]) -> None:
    longest_turn(0.0)
    line = new_line()
    async with AsyncExitStack() as stack:
        for _ in range(LET_IN + 1):  # the last one's begins only when another is over
            await stack.enter_async_context(line.turn())
        await until(lambda: line._turns._value == LET_IN)
    assert line._turns._value == LET_IN
