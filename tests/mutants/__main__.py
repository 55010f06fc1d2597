"""`python -m tests.mutants`: takes each guard out in turn and says whether its test sees it."""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain, groupby
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from rich.progress import Progress
from rich.table import Table

from devstack.kafka import Kafka
from devstack.paths import BUILD
from devstack.postgres import Postgres
from devstack.terminal import new_console
from tests.mutants.guards import Guard, StaleList, load
from tests.mutants.workshop import Result, Verdict, Workshop, workshops

# A test of the running system starts its own; one that stays green longer than this hangs.
_FAST_S, _SLOW_S, _UNMUTATED_S = 90.0, 300.0, 900.0

T = TypeVar("T")
R = TypeVar("R")
console = new_console()


def main() -> int:
    arguments = _arguments()
    guards = [guard for guard in load() if guard.slow == arguments.slow and _is_wanted(guard, arguments.only)]
    if not guards:
        console.print("No guard of that name.")
        return 2
    for guard in guards:
        guard.taken_out()
        guard.check_test()
    started = time.monotonic()
    with _infra(guards) as environment, workshops(1 if arguments.slow else arguments.jobs, environment) as shops:
        failed = _unmutated(guards, shops, arguments.slow)
        results = _take_out(guards, shops, failed, _SLOW_S if arguments.slow else _FAST_S)
    _print(guards, results)
    killed = sum(result.verdict is Verdict.KILLED for result in results)
    console.print(f"{killed} of {len(guards)} guards are missed when they are gone; {time.monotonic() - started:.0f} s")
    _write(guards, results, "mutants-slow.json" if arguments.slow else "mutants.json")
    return 0 if killed == len(guards) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="Ids, or how they begin, or rows of the mission; all if none.")
    parser.add_argument("--slow", action="store_true", help="Those whose tests need the whole running system.")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="How many at once.")
    return parser.parse_args()


def _is_wanted(guard: Guard, only: Sequence[str]) -> bool:
    return not only or any(guard.id.startswith(one) or one in guard.rows for one in only)


@contextmanager
def _infra(guards: Sequence[Guard]) -> Iterator[dict[str, str]]:
    """One PostgreSQL and one Kafka for all integration tests; those of the running system start their own."""
    with ExitStack() as stack:
        if not any(guard.test.startswith("tests/integration/") for guard in guards):
            yield {}
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zasov-infra-")))
        folder.chmod(0o755)
        postgres, kafka = Postgres(folder / "postgres"), Kafka(folder / "kafka")
        stack.callback(postgres.destroy)
        postgres.init()
        stack.callback(postgres.stop)
        postgres.start()
        kafka.format()
        stack.callback(kafka.stop)
        kafka.start()
        postgres.wait_ready()
        kafka.wait_ready()
        yield {"ZASOV_TEST_POSTGRES_URL": postgres.url("postgres"), "ZASOV_TEST_KAFKA_BOOTSTRAP": kafka.bootstrap}


def _unmutated(guards: Sequence[Guard], shops: Sequence[Workshop], slow: bool) -> dict[str, str]:
    """Of the tests that fail with all guards in place: why."""
    tests = sorted({guard.test for guard in guards})
    console.print(f"{len(tests)} tests, all guards in place", style="dim", highlight=False)
    # What the tests of a file share is made once. Of the running system no two files share one: what is left of the one before,
    # a block on its way, would be met by the next.
    files = [list(group) for _, group in groupby(tests, key=lambda test: test.partition("::")[0])]
    runs = files if slow else [list(chain(*files[n :: len(shops)])) for n in range(len(shops))]
    failed = _side_by_side(shops, lambda shop, run: shop.unmutated(run, _UNMUTATED_S), [run for run in runs if run])
    return {test: why for one in failed for test, why in one.items()}


def _take_out(guards: Sequence[Guard], shops: Sequence[Workshop], failed: Mapping[str, str], timeout_s: float) -> list[Result]:
    def take_out(shop: Workshop, guard: Guard) -> Result:
        if guard.test in failed:
            result = Result(Verdict.BROKEN, 0.0, f"its test fails with all guards in place: {failed[guard.test]}")
        else:
            result = shop.without(guard, timeout_s)
        progress.advance(task)
        line = f"{result.verdict:<8} {result.seconds:5.1f} s  {guard.id}"
        progress.console.print(line, highlight=False, style=_style(result))
        return result

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Taking guards out", total=len(guards))
        return _side_by_side(shops, take_out, guards)


def _side_by_side(shops: Sequence[Workshop], work: Callable[[Workshop, T], R], things: Sequence[T]) -> list[R]:
    """Each in a workshop that is idle; results in order."""
    idle: SimpleQueue[Workshop] = SimpleQueue()
    for shop in shops:
        idle.put(shop)

    def in_one(thing: T) -> R:
        shop = idle.get()
        try:
            return work(shop, thing)
        finally:
            idle.put(shop)

    with ThreadPoolExecutor(len(shops)) as pool:
        return list(pool.map(in_one, things))


def _style(result: Result) -> str:
    return "dim" if result.verdict is Verdict.KILLED else "red"


def _print(guards: Sequence[Guard], results: Sequence[Result]) -> None:
    table = Table("guard", "test", "without it", "s")
    for guard, result in zip(guards, results, strict=True):
        style = "" if result.verdict is Verdict.KILLED else "red"
        table.add_row(guard.id, guard.test.rpartition("/")[2], result.verdict, f"{result.seconds:.1f}", style=style)
    console.print(table)
    for guard, result in zip(guards, results, strict=True):
        if result.verdict is not Verdict.KILLED:
            console.print(f"{guard.id}: {result.verdict} {result.why}\n  {guard.keeps}", markup=False, highlight=False)


def _write(guards: Sequence[Guard], results: Sequence[Result], name: str) -> None:
    BUILD.mkdir(exist_ok=True)
    rows = [
        {
            "guard": guard.id,
            "test": guard.test,
            "verdict": result.verdict,
            "seconds": round(result.seconds, 1),
            "why": result.why,
        }
        for guard, result in zip(guards, results, strict=True)
    ]
    (BUILD / name).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the copies go, and what was started stops
    try:
        sys.exit(main())
    except StaleList as stale:
        console.print(str(stale), style="red", markup=False, highlight=False)
        sys.exit(2)
