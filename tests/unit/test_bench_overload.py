"""What the overload's figures count, and when they fall short of what is asked (M21)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc.aio import Metadata

from bench.overload import CLOSED_CALLERS, Answers, Load, shortfalls
from devstack.subscriber import Subscriber, new_client, new_phone
from services.chassis.errors import overloaded, to_status

AS_ASKED = {
    "goodput_ratio": 0.9,
    "refused_p99_ms": 50.0,
    "refused_without_retry_time": 0,
    "recovery_goodput_ratio_first_2_s": 0.5,
    "recovery_goodput_ratio_next_3_s": 0.9,
}


@pytest.mark.parametrize(
    ("figure", "worse", "said"),
    [
        ("goodput_ratio", 0.899, "0.899 of the peak is served"),
        ("refused_p99_ms", 50.1, "within 50.1 ms"),
        ("refused_without_retry_time", 1, "1 refusals"),
        ("recovery_goodput_ratio_next_3_s", 0.899, "in seconds 2 to 5 after it"),
    ],
)
def test_each_figure_that_falls_short_is_named(figure: str, worse: float, said: str) -> None:
    assert shortfalls(AS_ASKED) == []
    (short,) = shortfalls({**AS_ASKED, figure: worse})
    assert said in short


class Channel:
    """Answers a sign-in as it is told to."""

    def __init__(self, answer: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer

    def unary_unary(self, _: str) -> Callable[..., Awaitable[None]]:
        async def sign_in(request: bytes, timeout: float) -> None:
            await self._answer()

        return sign_in


def load_of(answer: Callable[[], Awaitable[None]]) -> Load:
    nobody: Any = None
    people = [Subscriber(nobody, nobody, new_phone(), new_client()) for _ in range(CLOSED_CALLERS)]
    return Load(Channel(answer), people)  # type: ignore[arg-type]


async def test_an_overload_ends_when_its_last_call_has_left_and_waits_for_no_answer() -> None:
    answered = asyncio.Event()

    async def answer() -> None:
        await answered.wait()

    async with asyncio.timeout(5):
        overload = await load_of(answer).at_rate(100, 0.1)
    assert len(overload.under_way) == 10
    answered.set()
    await overload.complete()
    assert len(overload.signed_in) == 10
    assert overload.drain_s() > 0
    assert overload.goodput() == 0


def test_goodput_ends_with_the_overload_and_what_is_signed_in_after_it_belongs_to_the_recovery() -> None:
    overload = Answers(signed_in_at=[0.5, 9.5, 10.5, 11.5, 12.5], elapsed=10.0, answered_last_at=12.5)
    assert overload.goodput() == 0.2
    assert (overload.left_over(0, 2), overload.left_over(2, 5)) == (1.0, 1 / 3)
    assert overload.drain_s() == 2.5


async def test_a_caller_who_is_refused_comes_again_when_he_was_told_to() -> None:
    calls = 0

    async def refuse() -> None:
        nonlocal calls
        calls += 1
        details = Metadata(*to_status(overloaded(timedelta(seconds=0.2))).trailing_metadata)
        raise grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, Metadata(), details)

    answers: Answers = await load_of(refuse).as_fast_as_served(0.1)
    assert calls == CLOSED_CALLERS
    assert answers.without_retry_time() == 0
