"""Ten times as many sign-ins as can be hashed, for a minute: what is still served, how soon the rest is refused, what it costs
(M21).

Arrivals come at a fixed rate, answered or not, and their times count from when they were due. The load's own work shares the
cores with what it measures, where it would have a machine of its own: so there is one hashing thread fewer than cores, and the
load is nice, takes what the system leaves, sends bytes that were made before and reads no answer until all is over. PostgreSQL,
Kafka and the other services would have theirs too: they and the load share the first core, and `auth server` has all of them.
At the peak it is the same. What each took, and how late calls left, is among the figures; `--anywhere` leaves all of them where
the system puts them.

Recovery begins when the last call of the overload has left. Those that wait in the line then are served first, and count; who
is refused comes again when he was told to. `--check`: exit status 1 if the figures fall short of what is asked.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
import psutil
import uvloop
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from zasov.auth.v1.sign_in_service_pb2 import SignInRequest

from bench.processes import Usage, keep_on_first_core, resident_mb
from bench.report import table
from devstack.handsets import Handsets
from devstack.paths import BUILD
from devstack.stack import Stack
from devstack.state import write_json
from devstack.subscriber import BackEnd, Subscriber, new_client, new_phone
from devstack.terminal import new_console
from devstack.wiring import SERVICES

# So many that few of those who come are waiting in the line already: one's share of a crowded line is one place, and who
# is refused for that has been looked up first. Of a million subscribers hardly any would.
PEOPLE = 768
# More callers than places would be overload already.
CLOSED_CALLERS = 16
PEAK_S = 15.0
TIMES = 10
PASSWORD = "Winter-in-Tver-26"
_DEADLINE_S = 10.0
_PAUSE_S = 0.1  # of a caller who is refused and not told when to come again
_LEAST_GOODPUT_RATIO = 0.9
_REFUSED_WITHIN_MS = 50.0
_SIGN_IN = "/zasov.auth.v1.SignInService/SignIn"

console = new_console()


@dataclass
class Answers:
    """What came back. Seconds are since each call was due; `at` is since the stretch began."""

    signed_in: list[float] = field(default_factory=list)
    signed_in_at: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    # The same, since each call left: what the service takes, without what the load itself was late.
    refused_since_left: list[float] = field(default_factory=list)
    # Of each refusal, its google.rpc.Status, if it has one.
    refusals: list[bytes] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    # How late calls left: what the load itself adds to every time above.
    late: list[float] = field(default_factory=list)
    # Until the last call left. What is answered later is among the times above, but not in this stretch's goodput.
    elapsed: float = 0.0
    answered_last_at: float = 0.0
    under_way: set[asyncio.Task[bytes | None]] = field(default_factory=set)

    async def complete(self) -> None:
        """Returns when the last call is answered."""
        if self.under_way:
            await asyncio.wait(self.under_way)

    def without_retry_time(self) -> int:
        """How many refusals don't say when to come again."""
        return sum(_retry_in_s(status) is None for status in self.refusals)

    def drain_s(self) -> float:
        """How long after the last call left the last one was answered."""
        return max(0.0, self.answered_last_at - self.elapsed)

    def left_over(self, since: float, until: float) -> float:
        """Sign-ins a second between those seconds after the last call left."""
        return sum(since <= at - self.elapsed < until for at in self.signed_in_at) / (until - since)

    def goodput(self, since: float = 0.0, until: float = 1e9) -> float:
        until = min(until, self.elapsed)
        return sum(since <= at < until for at in self.signed_in_at) / (until - since)


class Load:
    """Sign-ins of many people, each from an address of their own."""

    def __init__(self, channel: grpc.aio.Channel, people: list[Subscriber]) -> None:
        self._sign_in = channel.unary_unary(_SIGN_IN)
        self._requests = [
            SignInRequest(phone=one.phone, password=PASSWORD, client=one.client).SerializeToString() for one in people
        ]

    async def as_fast_as_served(self, seconds: float) -> Answers:
        """Closed loop: the peak. Returns when all are answered."""
        answers, started = Answers(), time.perf_counter()

        async def caller(number: int) -> None:
            while (now := time.perf_counter()) - started < seconds:
                refused = await self._one(answers, self._requests[number], due=now, started=started)
                if refused is not None:
                    await asyncio.sleep(_retry_in_s(refused) or _PAUSE_S)

        await asyncio.gather(*(caller(number) for number in range(CLOSED_CALLERS)))
        answers.elapsed = time.perf_counter() - started
        return answers

    async def at_rate(self, per_s: float, seconds: float) -> Answers:
        """Open loop: one due every 1/per_s, whatever becomes of the others. Returns when the last has left."""
        answers, started = Answers(), time.perf_counter()
        for number in range(int(per_s * seconds)):
            due = started + number / per_s
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            answers.late.append(time.perf_counter() - due)
            request = self._requests[number % len(self._requests)]
            answers.under_way.add(call := asyncio.create_task(self._one(answers, request, due, started)))
            call.add_done_callback(answers.under_way.discard)
        answers.elapsed = time.perf_counter() - started
        return answers

    async def _one(self, answers: Answers, request: bytes, due: float, started: float) -> bytes | None:
        """If it was refused, the status."""
        left = time.perf_counter()
        try:
            await self._sign_in(request, timeout=_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            now = time.perf_counter()
            answers.answered_last_at = now - started
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                answers.others[error.code().name] += 1
                return None
            answers.refused.append(now - due)
            answers.refused_since_left.append(now - left)
            answers.refusals.append(status := _status_of(error))
            return status
        now = time.perf_counter()
        answers.answered_last_at = now - started
        answers.signed_in.append(now - due)
        answers.signed_in_at.append(now - started)
        return None


def shortfalls(figures: Mapping[str, Any]) -> list[str]:
    """What they fall short of, a sentence each; none: as good as is asked."""
    found = []
    if figures["goodput_ratio"] < _LEAST_GOODPUT_RATIO:
        found.append(f"{figures['goodput_ratio']} of the peak is served, not {_LEAST_GOODPUT_RATIO}")
    if figures["refused_p99_ms"] > _REFUSED_WITHIN_MS:
        found.append(f"99 % are refused within {figures['refused_p99_ms']} ms, not {_REFUSED_WITHIN_MS:g}")
    if figures["refused_without_retry_time"]:
        found.append(f"{figures['refused_without_retry_time']} refusals don't say when to come again")
    if figures["recovery_goodput_ratio_next_3_s"] < _LEAST_GOODPUT_RATIO:
        recovered = figures["recovery_goodput_ratio_next_3_s"]
        found.append(f"{recovered} of the peak is served in seconds 2 to 5 after it, not {_LEAST_GOODPUT_RATIO}")
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0, help="how long the overload lasts")
    arguments.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1), help="hashing threads")
    arguments.add_argument("--anywhere", action="store_true", help="nothing is kept on one core")
    arguments.add_argument("--check", action="store_true", help="exit status 1 if the figures fall short of what is asked")
    asked = arguments.parse_args()
    overrides = {service: {f"ZASOV_{service.upper()}_TRACE_SAMPLE_RATIO": "0.01"} for service in SERVICES}
    overrides["auth"]["ZASOV_AUTH_HASH_THREADS"] = str(asked.threads)
    with (
        tempfile.TemporaryDirectory(prefix="zasov-bench-") as folder,
        Stack(
            Path(folder), settings_overrides=overrides, progress=lambda text: console.print(f"· {text}", style="dim")
        ) as stack,
    ):
        os.nice(19)  # the load alone: the stack's processes are running already
        addresses = stack.describe()
        if not asked.anywhere:
            keep_on_first_core(pid for name, pid in addresses["pids"].items() if name != "auth-server")
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the load; the stack's processes are its children
        how = {"hash_threads": asked.threads, "others_on_one_core": not asked.anywhere}
        figures = how | uvloop.run(_bench(addresses, asked.seconds))
    write_json(BUILD / "overload.json", figures)
    console.print(table("Overload", figures))
    console.print(f"The same in {BUILD / 'overload.json'}", style="dim", highlight=False)
    short = shortfalls(figures) if asked.check else []
    for text in short:
        console.print(text, style="red", highlight=False)
    sys.exit(1 if short else 0)


async def _bench(addresses: dict[str, Any], seconds: float) -> dict[str, Any]:
    server = {"auth-server": addresses["pids"]["auth-server"]}
    async with grpc.aio.insecure_channel(addresses["grpc"]["auth"]) as channel:
        handsets = Handsets(addresses["smsc"]["handsets"])
        people = [Subscriber(BackEnd(channel), handsets, new_phone(), new_client()) for _ in range(PEOPLE)]
        console.print(f"· Registering {PEOPLE} subscribers", style="dim")
        await asyncio.gather(*(_register(people[first::CLOSED_CALLERS]) for first in range(CLOSED_CALLERS)))
        load = Load(channel, people)
        console.print("· Warming up", style="dim")
        await load.as_fast_as_served(PEAK_S)
        await (await load.at_rate(100, 5)).complete()
        before = await load.as_fast_as_served(PEAK_S)
        memory_before, peak = resident_mb(server)["auth-server"], before.goodput()
        console.print(f"· Peak {peak:.1f}/s; now {TIMES * peak:.0f}/s for {seconds:.0f} s", style="dim")
        usage, load_before = Usage(addresses["pids"]), time.process_time()
        memory: list[int] = []
        watching = asyncio.create_task(_watch_memory(server["auth-server"], memory))
        overload = await load.at_rate(TIMES * peak, seconds)
        recovering = asyncio.create_task(load.as_fast_as_served(PEAK_S))
        await asyncio.sleep(0)  # it begins
        watching.cancel()
        spent = {**usage.since(), "the load": time.process_time() - load_before}
        after = await recovering
        await overload.complete()
        # A peak of its own, taken after: a machine's speed drifts.
        peak = (peak + after.goodput(5)) / 2
    return {
        "peak_per_s": round(peak, 1),
        "offered_per_s": round((len(overload.refused) + len(overload.signed_in)) / overload.elapsed, 1),
        "goodput_per_s": round(overload.goodput(), 1),
        "goodput_ratio": round(overload.goodput() / peak, 3),
        "drain_s": round(overload.drain_s(), 2),
        "refused": len(overload.refused),
        "refused_p50_ms": _percentile(overload.refused, 50),
        "refused_p99_ms": _percentile(overload.refused, 99),
        "refused_since_left_p99_ms": _percentile(overload.refused_since_left, 99),
        "refused_max_ms": round(max(overload.refused) * 1000, 1),
        "refused_without_retry_time": overload.without_retry_time(),
        "load_late_p99_ms": _percentile(overload.late, 99),
        "signed_in_p50_ms": _percentile(overload.signed_in, 50),
        "signed_in_p99_ms": _percentile(overload.signed_in, 99),
        "other_answers": dict(overload.others),
        "auth_resident_mb_before": memory_before,
        "auth_resident_mb_most": max(memory),
        "recovery_goodput_ratio_first_2_s": round((after.goodput(0, 2) + overload.left_over(0, 2)) / peak, 3),
        "recovery_goodput_ratio_next_3_s": round((after.goodput(2, 5) + overload.left_over(2, 5)) / peak, 3),
        "cores_used": {name: round(spent_s / overload.elapsed, 2) for name, spent_s in spent.items() if spent_s > 0.2},
    }


async def _watch_memory(pid: int, seen: list[int]) -> None:
    """Of the one process: to look for its children, as `resident_mb` does, takes so long that the load leaves in bursts."""
    process = psutil.Process(pid)
    while True:
        seen.append(round(process.memory_info().rss / 1e6))
        await asyncio.sleep(1)


def _status_of(error: grpc.aio.AioRpcError) -> bytes:
    """Unread: to read it takes as long as to make the call."""
    return next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), b"")


def _retry_in_s(status: bytes) -> float | None:
    """None: it doesn't say."""
    told = RetryInfo()
    if any(detail.Unpack(told) for detail in Status.FromString(status).details):
        return told.retry_delay.ToTimedelta().total_seconds()
    return None


async def _register(people: list[Subscriber]) -> None:
    for person in people:
        await person.register(PASSWORD)


def _percentile(seconds: list[float], percent: int) -> float:
    return round(quantiles(seconds, n=100)[percent - 1] * 1000, 1)


if __name__ == "__main__":
    main()
