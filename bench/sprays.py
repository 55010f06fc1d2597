"""`make test-sprays`: one guess, or one code, at each of 10,000 numbers, on the real thing: how many get through.

A limit lets its burst pass, then one in each interval; the one too many brings the penalty. What is evaluated between that one
and the penalty is the stream's lag. Each spray has a stack of its own, with the default cost of Argon2.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg
import grpc
import uvloop
from rich.table import Table
from zasov.auth.v1.common_pb2 import ClientContext
from zasov.auth.v1.registration_service_pb2 import StartRegistrationRequest
from zasov.events.v1.lockout_event_pb2 import LimitDimension, LockoutEvent

from devstack.handsets import Handsets
from devstack.paths import BUILD
from devstack.stack import Stack
from devstack.state import write_json
from devstack.subscriber import BackEnd, Subscriber
from devstack.terminal import new_console
from devstack.wiring import SERVICES
from services.chassis.errors import ServiceError
from services.lockout.limits import Limit
from services.lockout.settings import LockoutSettings

NUMBERS = 10_000
CALLERS = 16
# What the stream may take from the failure that trips a limit to the penalty: a lag at which its beat's alert goes off
# (docs/operations.md). On a machine that isn't overloaded it is a tenth of a second.
LAG_S = 10.0
PASSWORD = "Winter-in-Tver-26"
OWNER = "+79261234567"

console = new_console()


@dataclass(frozen=True)
class Spray:
    """dimension: the limit that must stop it; "": the captcha, which nobody here solves, so that not one gets through. counts:
    the events that say that one did, of that service.
    """

    name: str
    dimension: str
    address: Callable[[int], str]
    number: Callable[[int], str]
    codes: bool = False
    # Other than the default: burst, and seconds between two after it.
    burst_and_interval: tuple[int, float] | None = None

    @property
    def counts(self) -> tuple[str, str]:
        return ("otp", "OtpIssued") if self.codes else ("auth", "LoginFailed")


def _anywhere(index: int) -> str:
    """Ten numbers to a range."""
    return f"+7916{index * 997 % 10_000_000:07d}"


def _everywhere(index: int) -> str:
    """5,000 addresses, each in a subnet of its own."""
    return f"10.{index % 5000 >> 8}.{index % 5000 & 255}.7"


SPRAYS = {
    "one-address": Spray("one address", "FAILURES_BY_IP", lambda _: "198.51.100.7", _anywhere),
    "one-subnet": Spray("one /24", "FAILURES_BY_SUBNET", lambda index: f"198.51.100.{index % 254 + 1}", _anywhere),
    "botnet": Spray("5,000 addresses", "FAILURES_BY_SYSTEM", _everywhere, _anywhere, burst_and_interval=(300, 1.0)),
    "one-range": Spray("5,000 addresses, one range", "FAILURES_BY_RANGE", _everywhere, lambda index: f"+7916123{index:04d}"),
    "codes": Spray("5,000 addresses, codes", "", _everywhere, _anywhere, codes=True),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("sprays", nargs="*", choices=[*SPRAYS, []], help="which; all if none is named")
    arguments.add_argument("--numbers", type=int, default=NUMBERS, help="how many numbers are tried")
    asked = arguments.parse_args()
    path = BUILD / "sprays.json"
    figures: list[dict[str, Any]] = []
    for name in asked.sprays or SPRAYS:
        figures.append(_on_a_stack(SPRAYS[name], asked.numbers))
        write_json(path, figures)
        console.print(_table(figures[-1:]))
    if len(figures) > 1:
        console.print(_table(figures))
    notes = "Argon2 as in production; *: a burst of 300, then one a second, for a machine that hashes less than ten a second"
    console.print(f"{notes}. The same in {path}", style="dim", highlight=False)
    sys.exit(not all(one["bounded"] and one["owner"] == _OWNER.get(one["limit"], "signs in") for one in figures))


def _on_a_stack(spray: Spray, numbers: int) -> dict[str, Any]:
    console.print(f"· {spray.name}: starting a stack", style="dim")
    overrides = {service: {f"ZASOV_{service.upper()}_TRACE_SAMPLE_RATIO": "0.01"} for service in SERVICES}
    if spray.dimension:
        limit = _limit(spray)
        overrides["lockout"] |= {
            f"ZASOV_LOCKOUT_{spray.dimension}_BURST": str(limit.burst),
            f"ZASOV_LOCKOUT_{spray.dimension}_INTERVAL_S": str(limit.interval_s),
        }
    with (
        tempfile.TemporaryDirectory(prefix="zasov-sprays-") as folder,
        Stack(Path(folder), settings_overrides=overrides) as stack,
    ):
        return uvloop.run(_measure(spray, numbers, stack.describe()))


async def _measure(spray: Spray, numbers: int, addresses: dict[str, Any]) -> dict[str, Any]:
    async with grpc.aio.insecure_channel(addresses["grpc"]["auth"]) as channel:
        back_end = BackEnd(channel, timeout_s=30.0)
        owner = Subscriber(back_end, Handsets(addresses["smsc"]["handsets"]), OWNER, ClientContext(ip="192.0.2.9"))
        await owner.register(PASSWORD)
        service, event = spray.counts
        before = await _times(addresses["databases"][service], event)
        answers, elapsed = await _offer(spray, numbers, back_end)
        passed = [at for at in await _times(addresses["databases"][service], event) if at not in set(before)]
        trip = await _trip(addresses["databases"]["lockout"], spray) if spray.dimension else None
        standing = await _owner_signs_in(owner)
    return {
        "spray": spray.name + (" *" if spray.burst_and_interval else ""),
        "limit": spray.dimension or "CAPTCHA",
        "offered": numbers,
        "seconds": round(elapsed, 1),
        "got_through": len(passed),
        **_judged(spray, passed, trip),
        "answers": {reason: len(seconds) for reason, seconds in answers.items()},
        "refusal_p50_ms": _refusals(answers, 50),
        "refusal_p99_ms": _refusals(answers, 99),
        "owner": standing,
    }


async def _offer(spray: Spray, numbers: int, back_end: BackEnd) -> tuple[dict[str, list[float]], float]:
    """Seconds to each answer, by its reason."""
    answers: defaultdict[str, list[float]] = defaultdict(list)
    indexes, started = iter(range(numbers)), time.perf_counter()

    async def caller() -> None:
        for index in indexes:
            asked, client = time.perf_counter(), ClientContext(ip=spray.address(index))
            try:
                if spray.codes:
                    request = StartRegistrationRequest(phone=spray.number(index), client=client)
                    await back_end.call(back_end.registration.StartRegistration, request)
                else:
                    await back_end.sign_in(spray.number(index), "Wrong-1-password", client)
                reason = "OK"
            except ServiceError as error:
                reason = error.reason
            answers[reason].append(time.perf_counter() - asked)
            if index % 1000 == 999:
                counts = {reason: len(seconds) for reason, seconds in answers.items()}
                console.print(f"· {time.perf_counter() - started:.0f} s: {counts}", style="dim", highlight=False)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return answers, time.perf_counter() - started


def _judged(spray: Spray, passed: list[datetime], trip: tuple[datetime, datetime] | None) -> dict[str, Any]:
    """By the limit's own arithmetic until it trips; then by the stream's lag."""
    if trip is None:
        bounded = not spray.dimension and not passed
        return {"by_the_limit": len(passed), "by_the_lag": 0, "lag_ms": 0, "bound": 0, "bounded": bounded}
    limit = _limit(spray)
    too_many, imposed = trip
    by_limit = [at for at in passed if at <= too_many]
    seconds = (too_many - min(passed)).total_seconds()
    rate = len(by_limit) / max(seconds, 0.1)
    bound = math.ceil(limit.burst + 1 + seconds / limit.interval_s) + math.ceil(rate * LAG_S) + CALLERS
    return {
        "by_the_limit": len(by_limit),
        "by_the_lag": len(passed) - len(by_limit),
        "lag_ms": round((imposed - too_many).total_seconds() * 1000),
        "bound": bound,
        "bounded": len(passed) <= bound,
    }


def _limit(spray: Spray) -> Limit:
    default = LockoutSettings(postgres_url="none").limits()[LimitDimension.Value(f"LIMIT_DIMENSION_{spray.dimension}")]
    return Limit(*spray.burst_and_interval, default.penalty_s) if spray.burst_and_interval else default


# How somebody else, from elsewhere, is let in: a limit of the whole system asks everybody for a captcha, and refuses nobody.
_OWNER = {"FAILURES_BY_SYSTEM": "solves a captcha and signs in"}


async def _owner_signs_in(owner: Subscriber) -> str:
    """Somebody else, from elsewhere, with the right password; as asked with a captcha."""
    error = await owner.refused(PASSWORD)
    if error is None:
        return "signs in"
    if error.reason != "CAPTCHA_REQUIRED":
        return error.reason
    owner.client = await owner.back_end.solved(owner.client)
    error = await owner.refused(PASSWORD)
    return "solves a captcha and signs in" if error is None else error.reason


async def _times(url: str, event: str) -> list[datetime]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch("SELECT occurred_at FROM event WHERE type = $1 ORDER BY 1", event)]
    finally:
        await connection.close()


async def _trip(url: str, spray: Spray) -> tuple[datetime, datetime] | None:
    """When what was one too many happened, and when the penalty stood; None: it did not trip."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT occurred_at, data FROM event WHERE type = 'LimitTripped' ORDER BY occurred_at")
    finally:
        await connection.close()
    penalty, dimension = timedelta(seconds=_limit(spray).penalty_s), f"LIMIT_DIMENSION_{spray.dimension}"
    for row in rows:
        tripped = LockoutEvent.FromString(row["data"]).limit_tripped
        if LimitDimension.Name(tripped.dimension) == dimension:
            until = tripped.until.ToDatetime(tzinfo=row["occurred_at"].tzinfo)
            return until - penalty, row["occurred_at"]
    return None


def _refusals(answers: dict[str, list[float]], percent: int) -> float | None:
    seconds = [one for reason in ("ORIGIN_LIMITED", "CAPTCHA_REQUIRED") for one in answers.get(reason, [])]
    if len(seconds) < 2:
        return None
    return round((median(seconds) if percent == 50 else quantiles(seconds, n=100)[percent - 1]) * 1000, 1)


def _table(figures: list[dict[str, Any]]) -> Table:
    shown = Table(title=f"One try at each of many numbers, {CALLERS} at a time", title_justify="left")
    for heading in (
        "from", "stopped by", "offered", "got through", "bound", "by the limit", "by its lag", "lag ms", "refusal ms p50/p99",
        "the owner",
    ):  # fmt: skip
        shown.add_column(heading)
    for one in figures:
        shown.add_row(
            one["spray"], one["limit"], f"{one['offered']:,}", f"{one['got_through']:,}", f"{one['bound']:,}",
            f"{one['by_the_limit']:,}", f"{one['by_the_lag']:,}", str(one["lag_ms"]),
            f"{one['refusal_p50_ms']} / {one['refusal_p99_ms']}", one["owner"],
        )  # fmt: skip
    others = Counter[str]()
    for one in figures:
        expected = ("CREDENTIALS_REJECTED", "ORIGIN_LIMITED", "CAPTCHA_REQUIRED", "OK")
        others.update({reason: count for reason, count in one["answers"].items() if reason not in expected})
    if others:
        shown.caption = f"Other answers: {dict(others)}"
    return shown


if __name__ == "__main__":
    main()
