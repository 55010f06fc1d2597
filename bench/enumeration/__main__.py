"""`make test-enumeration`: times of answers about known and unknown numbers, interleaved at random, compared.

Twice: as auth answers, and without the spread of its answers (docs/adr/0037), which shows what the spread has to cover. Exits
with 1 if a pair can be told apart as auth answers; if one can without the spread, by more than the spread is there for; or if a
planted difference can not: a test without power shows nothing.
"""

import argparse
import asyncio
import gc
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop
from rich.table import Table

from bench.enumeration.pairs import NOT_BUILT, PAIRS, SIGN_IN, Numbers, Pair, arms
from bench.enumeration.planted import DIFFERENCES
from bench.enumeration.servers import Servers
from bench.enumeration.statistics import FALSE_ALARM, TESTS_OF_A_PAIR, Comparison, compare
from bench.enumeration.subscribers import Subscribers, subscribers
from devstack.paths import BUILD
from devstack.state import write_json
from devstack.terminal import new_console

_WARM_UP = 40
# A hash of 17 ms is heard at once.
_HASHED_CALLS = 200
# What may be left to the spread: one two-hundredth of the time that it spreads answers over.
_LEFT_S = 50e-6

console = new_console()
Row = tuple[str, Comparison]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.enumeration")
    parser.add_argument("--calls", type=int, default=2000, help="of each pair, half of them about known numbers")
    parser.add_argument("--default-hash", action="store_true", help="Argon2 as in production, instead of a cheap one")
    parser.add_argument("--no-power", action="store_true", help="plant no differences")
    parser.add_argument("--only", default="", help="pairs with this in their names, and none that goes on with another's flows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zasov-enumeration-") as folder:
        servers = Servers(Path(folder), cheap_hash=not options.default_hash)
        with servers:
            result = uvloop.run(_measure(servers, options))
    tests = len(PAIRS)
    console.print(_table("As auth answers", result.rows, tests))
    console.print(_table("Without the spread", result.bare, tests))
    if result.planted:
        console.print(_table("With a difference planted in auth: must be noticed", result.planted, tests))
    console.print("Not built yet, so not compared: " + "; ".join(NOT_BUILT) + ".")
    hash_ = "default" if options.default_hash else "cheap (64 KiB, 1 pass), so that it drowns nothing"
    console.print(f"Argon2: {hash_}. p: Mann-Whitney U; paired: Wilcoxon; folded: modulo 1 ms.")
    console.print(f"All two-sided; told apart if one is under {FALSE_ALARM}/{TESTS_OF_A_PAIR * tests} (Bonferroni).")
    write_json(
        BUILD / "enumeration.json",
        {"as_it_is": _figures(result.rows), "bare": _figures(result.bare), "planted": _figures(result.planted)},
    )
    wrong = result.wrong(tests)
    for one in wrong:
        console.print(f"✗ {one}", style="red")
    return 1 if wrong else 0


@dataclass
class Result:
    """rows: as auth answers. bare: without the spread."""

    rows: list[Row]
    bare: list[Row]
    planted: list[Row]

    def wrong(self, tests: int) -> list[str]:
        return [
            *(f"{name}: known and unknown numbers can be told apart" for name, one in self.rows if one.tells_apart(tests)),
            *(
                f"{name}: without the spread they differ by more than {_LEFT_S * 1e6:.0f} µs"
                for name, one in self.bare
                if one.tells_apart(tests) and abs(one.difference) > _LEFT_S
            ),
            *(f"{name}: planted, and not noticed" for name, one in self.planted if not one.tells_apart(tests)),
        ]


def _figures(rows: Sequence[Row]) -> dict[str, object]:
    return {name: vars(one) for name, one in rows}


async def _measure(servers: Servers, options: argparse.Namespace) -> Result:
    count: int = options.calls // 2
    pairs = [pair for pair in PAIRS if options.only in pair.name]
    result = Result([], [], [])
    async with subscribers(servers.describe()) as everybody:
        result.rows = await _compare_all(everybody, pairs, count)
    servers.bare()
    async with subscribers(servers.describe()) as everybody:
        result.bare = await _compare_all(everybody, pairs, count)
    for what in () if options.no_power else DIFFERENCES:
        servers.plant(what)
        async with subscribers(servers.describe()) as everybody:
            (row,) = await _compare_all(everybody, [SIGN_IN], _HASHED_CALLS // 2 if what == "no-dummy-hash" else count)
        result.planted.append((f"{row[0]}; {what}", row[1]))
    return result


async def _compare_all(everybody: Subscribers, pairs: Sequence[Pair], count: int) -> list[Row]:
    console.print(f"· Registering {count} numbers", style="dim")
    known, unknown = await arms(everybody, count + _WARM_UP)
    rows = []
    for pair in pairs:
        console.print(f"· {pair.name}", style="dim")
        if pair.beforehand is not None:
            await pair.beforehand(everybody, known, unknown)
        rows.append((pair.name, await _compare(everybody, pair, known, unknown, count)))
    return rows


async def _compare(everybody: Subscribers, pair: Pair, known: Numbers, unknown: Numbers, count: int) -> Comparison:
    """One call after the other. Which arm comes first is tossed for each two, so that a drift of the machine hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for index in range(count + _WARM_UP):
        for arm in random.sample((0, 1), 2):
            await pair.prepare(everybody)
            gc.disable()
            started = time.perf_counter()
            await pair.ask(everybody, (known, unknown)[arm], index)
            elapsed = time.perf_counter() - started
            gc.enable()
            if index >= _WARM_UP:
                times[arm].append(elapsed)
            await asyncio.sleep(0)
    return compare(*times)


def _table(title: str, rows: Sequence[Row], tests: int) -> Table:
    table = Table(title=title, title_justify="left")
    first = "known (A), unknown (B)"
    for column in (first, "n", "median A", "median B", "A - B", "A slower", "p", "paired", "folded", "apart"):
        table.add_column(column, justify="left" if column == first else "right", no_wrap=True)
    for name, one in rows:
        ps = [f"{p:.2g}" for p in (one.p, one.p_paired, one.p_folded)]
        table.add_row(
            name, f"2 × {one.n}", f"{one.median_a * 1e3:.2f} ms", f"{one.median_b * 1e3:.2f} ms",
            f"{one.difference * 1e6:+.0f} µs", f"{one.a_slower:.1%}", *ps, "yes" if one.tells_apart(tests) else "no",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
