"""“Forgot password” until the SMS is on the handset: alone, and beside one caller who signs in without a pause.

The two take turns, so that a machine whose speed drifts drifts for both. The captcha is solved before the clock starts.
"""

import asyncio
import time
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

from zasov.auth.v1.common_pb2 import ClientContext

from bench.hops import Recovered, medians_ms
from devstack.handsets import HandsetMessage, Handsets
from devstack.subscriber import BackEnd, Subscriber, new_client, new_phone

ROUNDS = 4
RECOVERIES = 30
# Between two recoveries: they are to meet the background, not each other.
PAUSE_S = 0.05
AT_ONCE = 8
PASSWORD = "Winter-in-Tver-26"


async def measure(back_end: BackEnd, handsets: Handsets, databases: dict[str, str]) -> dict[str, Any]:
    """`forgot_password_to_sms_ms` and the like. Each subscriber recovers once: the cool-down is not what is measured."""
    everybody = [Subscriber(back_end, handsets, new_phone(), new_client()) for _ in range(2 * ROUNDS * RECOVERIES + 1)]
    await _register(everybody)
    background, others = everybody[0], iter(everybody[1:])
    alone, beside, sign_ins, elapsed = list[Recovered](), list[Recovered](), 0, 0.0
    for _ in range(ROUNDS):
        alone += [await _until_sms(next(others)) for _ in range(RECOVERIES)]
        started, signing_in = time.perf_counter(), _SignsIn(background)
        beside += [await _until_sms(next(others)) for _ in range(RECOVERIES)]
        sign_ins += await signing_in.stop()
        elapsed += time.perf_counter() - started
    return {
        "forgot_password_to_sms_ms": {"p50": _percentile(beside, 50), "p99": _percentile(beside, 99)},
        "forgot_password_to_sms_alone_ms": {"p50": _percentile(alone, 50), "p99": _percentile(alone, 99)},
        "forgot_password_to_sms_legs_ms": await medians_ms(beside, databases),
        "forgot_password_to_sms_alone_legs_ms": await medians_ms(alone, databases),
        "recoveries": len(beside) + len(alone),
        "background_signin_per_s": round(sign_ins / elapsed, 1),
    }


class _SignsIn:
    """Somebody who signs in, again as soon as answered."""

    def __init__(self, person: Subscriber) -> None:
        self._person = person
        self._stopping = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> int:
        """How many sign-ins there were."""
        self._stopping = True
        return await self._task

    async def _run(self) -> int:
        count = 0
        while not self._stopping:
            await self._person.sign_in(PASSWORD)
            count += 1
        return count


async def _register(people: list[Subscriber]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(person: Subscriber) -> None:
        async with places:
            await person.register(PASSWORD)

    await asyncio.gather(*(one(person) for person in people))


async def _until_sms(person: Subscriber) -> Recovered:
    """From the request to the text on the handset."""
    # All that has come is read first, a notice of the registration too: the next one is the code.
    person.messages_read = len(await person.handsets.messages(person.phone))
    solved: ClientContext = await person.back_end.solved(person.client)
    arrival = asyncio.create_task(_arrival(person))
    await asyncio.sleep(PAUSE_S)
    asked_at = datetime.now(UTC)
    await person.back_end.start_recovery(person.phone, solved)
    text, read_at = await arrival
    return Recovered(asked_at, text, read_at)


async def _arrival(person: Subscriber) -> tuple[HandsetMessage, datetime]:
    """The next message is the code."""
    text = await person.next_message()
    return text, datetime.now(UTC)


def _percentile(recovered: list[Recovered], percent: int) -> float:
    return round(quantiles([one.seconds for one in recovered], n=100)[percent - 1] * 1000, 1)
