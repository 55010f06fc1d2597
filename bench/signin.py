"""Sign-ins a second through gRPC with everything running, beside the raw Argon2 ceiling of the same minutes.

Load and ceiling take turns, so that a machine whose speed drifts drifts for both; the ratio is the median of the pairs, to the
ceiling of the stock wheel, also where the stack runs on a build of its own (`make argon2-avx2`).
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg

from bench.processes import Usage, resident_mb
from devstack.argon2_build import avx2_build
from devstack.handsets import Handsets
from devstack.paths import REPO
from devstack.subscriber import BackEnd, Subscriber, new_client, new_phone
from devstack.terminal import new_console

CALLERS = 16
ROUNDS = 6
LOAD_S = 8.0
CEILING_S = 4.0
WARM_UP_SIGN_INS = 1200
PASSWORD = "Winter-in-Tver-26"

console = new_console()


@dataclass
class Load:
    """One stretch of sign-ins. seconds: each one's time to answer."""

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def per_s(self) -> float:
        return len(self.seconds) / self.elapsed


async def measure(addresses: dict[str, Any], back_end: BackEnd, handsets: Handsets) -> dict[str, Any]:
    """`signin_ratio` and what explains it. addresses: as `Stack.describe`."""
    pids, cores = addresses["pids"], len(os.sched_getaffinity(0))
    people = [Subscriber(back_end, handsets, new_phone(), new_client()) for _ in range(CALLERS)]
    for person in people:
        await person.register(PASSWORD)
    console.print(f"· Warming up: {WARM_UP_SIGN_INS} sign-ins", style="dim")
    await _load(people, count=WARM_UP_SIGN_INS)
    pairs, loads, alone = [], [], Load()
    build, build_ceilings = avx2_build(), list[float]()
    usage = dict.fromkeys([*pids, "bench client"], 0.0)
    for number in range(ROUNDS):
        ceiling = await _ceiling(cores)
        if build is not None:
            build_ceilings.append(await _ceiling(cores, build))
        spent, own = Usage(pids), time.process_time()
        load = await _load(people, seconds=LOAD_S)
        # What it leaves to the relays is its work too; the stream is then at most a batch behind.
        await _until_published(addresses)
        for name, seconds in {**spent.since(), "bench client": time.process_time() - own}.items():
            usage[name] += seconds
        one = await _load(people[:1], count=20)
        alone.seconds += one.seconds
        loads.append(load)
        pairs.append((load.per_s, ceiling))
        console.print(f"· Round {number + 1}: {load.per_s:.1f} sign-ins/s, ceiling {ceiling:.1f}/s", style="dim")
    memory = resident_mb(pids)
    sign_ins = sum(len(load.seconds) for load in loads)
    everyone = [one for load in loads for one in load.seconds]
    return {
        "signin_per_s": round(median(rate for rate, _ in pairs), 1),
        "argon2_ceiling_per_s": round(median(ceiling for _, ceiling in pairs), 1),
        "signin_ratio": round(median(rate / ceiling for rate, ceiling in pairs), 3),
        "signin_ratio_by_round": [round(rate / ceiling, 3) for rate, ceiling in pairs],
        "argon2_build": "AVX2, built from source" if build else "stock wheel",
        "argon2_build_ceiling_per_s": round(median(build_ceilings), 1) if build else None,
        "callers": CALLERS,
        "cores": cores,
        "p50_ms": _percentile(everyone, 50),
        "p99_ms": _percentile(everyone, 99),
        "alone_p50_ms": _percentile(alone.seconds, 50),
        "alone_p99_ms": _percentile(alone.seconds, 99),
        "cpu_ms_per_signin": {name: round(seconds / sign_ins * 1000, 2) for name, seconds in usage.items()},
        "resident_mb": memory,
    }


async def _load(people: list[Subscriber], *, seconds: float = 1e9, count: int = 10**9) -> Load:
    """Sign-ins by all of them at once, each again as soon as answered. A refusal is an error of the benchmark."""
    load, started = Load(), time.perf_counter()

    async def caller(person: Subscriber) -> None:
        while time.perf_counter() - started < seconds and len(load.seconds) < count:
            asked = time.perf_counter()
            await person.sign_in(PASSWORD)
            load.seconds.append(time.perf_counter() - asked)

    await asyncio.gather(*(caller(person) for person in people))
    load.elapsed = time.perf_counter() - started
    return load


async def _ceiling(cores: int, build: Path | None = None) -> float:
    """Of the stock wheel, or of a build of one's own."""
    command = [sys.executable, "-m", "bench.ceiling", str(CEILING_S), str(cores)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*([str(build)] if build else []), str(REPO)])}
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, env=environment)
    return float(json.loads(done.stdout)["per_s"])


async def _until_published(addresses: dict[str, Any]) -> None:
    """Every event is in Kafka: a relay deletes its outbox's rows once they are. Raises TimeoutError."""
    async with asyncio.timeout(30):
        for url in addresses["databases"].values():
            connection = await asyncpg.connect(url)
            try:
                while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            finally:
                await connection.close()


def _percentile(seconds: list[float], percent: int) -> float:
    return round(quantiles(seconds, n=100)[percent - 1] * 1000, 1)
