"""SMS a second through one session, beside what its window allows: window / time to an answer.

The dev stack's SMSC in a process of its own takes a set time for each answer, or none; the two take turns, so that a machine
whose speed drifts drifts for both. It keeps no messages and sends no receipts: the session is measured, not the handsets.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from devstack.handsets import Handsets
from devstack.paths import REPO
from devstack.terminal import new_console
from services.notifier.smpp import InboundSms, Receipt, Sent, SmppClient, SmppSettings

WINDOW = 50  # the default of SMPP_WINDOW
ANSWER_S = 0.02
ROUNDS = 5
STRETCH_S = 3.0
TEXT = "Код 4711 (запрос № 47). Никому не сообщайте."
_CEILING_PER_S = WINDOW / ANSWER_S

console = new_console()


async def measure() -> dict[str, Any]:
    """`sms_window_ratio` and what explains it."""
    slow, instant = [], []
    async with _smsc() as (address, handsets), _bound(address) as client:
        await _stretch(client, handsets, 0.0)  # warm
        for number in range(ROUNDS):
            slow.append(await _stretch(client, handsets, ANSWER_S))
            instant.append(await _stretch(client, handsets, 0.0))
            shown = f"· Round {number + 1}: {slow[-1]:.0f} SMS/s of {_CEILING_PER_S:.0f}; answered at once {instant[-1]:.0f}/s"
            console.print(shown, style="dim")
        unknown = client.counters.unknown
    if unknown:
        raise RuntimeError(f"{unknown} submits without an answer: the figures are worth nothing")
    return {
        "sms_per_s": round(median(slow)),
        "sms_window_ceiling_per_s": round(_CEILING_PER_S),
        "sms_window_ratio": round(median(slow) / _CEILING_PER_S, 3),
        "sms_window_ratio_by_round": [round(one / _CEILING_PER_S, 3) for one in slow],
        "sms_window": WINDOW,
        "sms_answer_ms": round(ANSWER_S * 1000),
        "sms_per_s_answered_at_once": round(median(instant)),
    }


async def _stretch(client: SmppClient, handsets: Handsets, answer_s: float) -> float:
    """SMS a second, each place of the window taken anew as soon as it is free. A refusal is an error of the benchmark."""
    # Any state but delivered keeps messages from the handsets' files.
    await handsets.set_behaviour(response_delay_s=answer_s, final_state="UNDELIVERABLE")
    sent, started = 0, time.perf_counter()

    async def caller() -> None:
        nonlocal sent
        while time.perf_counter() - started < STRETCH_S:
            outcome = await client.submit(
                destination="+79160000001", text=TEXT, source="Zasov", validity=timedelta(minutes=5), reference=sent,
                want_receipt=False,
            )  # fmt: skip
            if not isinstance(outcome, Sent):
                raise RuntimeError(f"not sent: {type(outcome).__name__}")
            sent += 1

    # More callers than places: somebody always waits for the next one.
    await asyncio.gather(*(caller() for _ in range(2 * WINDOW)))
    return sent / (time.perf_counter() - started)


@asynccontextmanager
async def _smsc() -> AsyncIterator[tuple[str, Handsets]]:
    """An SMSC of its own: where it takes applications, and its control."""
    with tempfile.TemporaryDirectory(prefix="zasov-bench-sms-") as folder:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "devstack.smsc", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"],
            *["--state-dir", str(Path(folder))],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=REPO,
        )
        try:
            assert process.stdout is not None
            ready = json.loads(await process.stdout.readline())
            yield ready["smpp"], Handsets(ready["control"])
        finally:
            process.kill()
            await process.wait()


@asynccontextmanager
async def _bound(address: str) -> AsyncIterator[SmppClient]:
    host, _, port = address.rpartition(":")
    settings = SmppSettings(
        host=host, port=int(port), system_id="zasov", password="devstack", window=WINDOW, rate=1e6, response_timeout_s=30.0
    )
    async with SmppClient(settings, _nothing, _nothing) as client:
        await client.wait_bound(10)
        yield client


async def _nothing(delivery: Receipt | InboundSms) -> None:
    raise AssertionError("no receipt was asked for, and no handset sends")
