"""`python -m models.check`: the three-strike protocol holds; and without any one of its guards it does not."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from models.counterexamples import in_words, told_in_the_docs
from models.tlc import Verdict, configuration, run

MODULE = "Checked"
INVARIANTS = ("ThreeAtMost", "StrikesAreDeserved", "CountedOnce", "PlacesAreThree", "NothingOldIsOpen")
ACTIONS = ("OnlyANewPasswordLiftsABlock", "OnlyThePresentPasswordSignsIn")
# What somebody outside can see; PlacesAreThree is how it is kept.
CLAIMS = tuple(name for name in (*INVARIANTS, *ACTIONS) if name != "PlacesAreThree")
LIVENESS = ("EveryAttemptSettles", "NobodyIsStuck", "ANewPasswordIsHeardOf")


@dataclass(frozen=True, slots=True)
class Configuration:
    """attempts and versions of the password that there may be; without: the guard taken out; properties: what is checked."""

    attempts: int
    versions: int
    without: str | None = None
    properties: tuple[str, ...] = (*INVARIANTS, *ACTIONS)

    @property
    def name(self) -> str:
        kind = "liveness" if self.is_liveness else "safety"
        return f"without: {self.without}" if self.without else f"{kind}, {self.attempts} attempts, {self.versions} passwords"

    @property
    def is_liveness(self) -> bool:
        return self.properties == LIVENESS

    def text(self) -> str:
        attempts = ", ".join(f"a{number}" for number in range(1, self.attempts + 1))
        constants = {
            "Attempt": f"{{{attempts}}}",
            "Limit": "3",
            "MaxVersion": str(self.versions),
            "Without": f'{{"{self.without}"}}' if self.without else "{}",
        } | {f"a{number}": f"a{number}" for number in range(1, self.attempts + 1)}
        return configuration(
            constants,
            specification="FairSpec" if self.is_liveness else "Spec",
            invariants=[name for name in self.properties if name in INVARIANTS],
            properties=[name for name in self.properties if name not in INVARIANTS],
            # TLC's symmetry is sound for safety alone.
            symmetry=None if self.is_liveness else "Symmetric",
        )


# Each guard, and the number of attempts and passwords that it takes to miss it.
GUARDS = (
    Configuration(4, 1, "count before compare", CLAIMS),
    Configuration(4, 1, "row lock", CLAIMS),
    Configuration(4, 2, "epoch is the version", CLAIMS),
    Configuration(5, 1, "age bound", CLAIMS),
    Configuration(4, 1, "strike by row", CLAIMS),
    Configuration(4, 1, "settle first", CLAIMS),
    Configuration(4, 1, "forgive earlier failures", CLAIMS),
    Configuration(5, 1, "reset by row", CLAIMS),
    Configuration(4, 2, "monotonic epoch", CLAIMS),
    Configuration(4, 2, "void what is open", CLAIMS),
    Configuration(4, 2, "append on the version", CLAIMS),
    Configuration(4, 1, "give back unevaluated only", CLAIMS),
    Configuration(4, 1, "lost counts as wrong", CLAIMS),
    Configuration(3, 1, "sweep", LIVENESS),
)
WHOLE = (
    Configuration(5, 1),
    Configuration(4, 2),
    Configuration(3, 1, properties=LIVENESS),
    Configuration(3, 2, properties=LIVENESS),
)
# Three attempts, or nobody could be stuck; two passwords, or there were none to hear of.
QUICK = (
    Configuration(4, 1),
    Configuration(3, 2),
    Configuration(3, 1, properties=LIVENESS),
    Configuration(2, 2, properties=LIVENESS),
)


def check(wanted: Configuration, workers: str) -> Verdict:
    return run(MODULE, wanted.text(), workers=workers)


def checked(wanted: Sequence[Configuration]) -> Iterator[tuple[Configuration, Verdict]]:
    """As many at a time as there are cores; a breadth-first search by one worker finds a shortest counterexample."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield from zip(wanted, pool.map(lambda one: check(one, "1"), wanted), strict=True)


def as_expected(wanted: Configuration, verdict: Verdict) -> bool:
    return (verdict.violated is not None) == (wanted.without is not None)


def is_told(guard: str, verdict: Verdict) -> bool:
    """Whether docs/security.md has this very way. What breaks when nothing happens any more is told there by hand."""
    said = told_in_the_docs()[guard]
    if verdict.violated in (*INVARIANTS, *ACTIONS):
        return f"`{verdict.violated}`" in said and said.endswith(f"| {len(verdict.steps)}: {in_words(verdict.steps)}")
    return any(f"`{name}`" in said for name in LIVENESS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller configuration, and no guard taken out")
    parser.add_argument("--counterexamples", action="store_true", help="with the steps of each")
    chosen = parser.parse_args()
    table = Table("configuration", "states", "depth", "seconds", "result")
    console, good = Console(width=120), True
    for wanted, verdict in checked(QUICK if chosen.quick else [*WHOLE, *GUARDS]):
        result = f"{verdict.violated} breaks in {len(verdict.steps)} steps" if verdict.violated else "holds"
        if not as_expected(wanted, verdict):
            good, result = False, f"UNEXPECTED: {result}"
        if not chosen.quick and wanted.without and not is_told(wanted.without, verdict):
            good, result = False, f"{result}, and docs/security.md tells it otherwise"
        table.add_row(wanted.name, f"{verdict.states:,}", str(verdict.depth), f"{verdict.seconds:.0f}", result)
        print(f"· {wanted.name}: {result}", flush=True)
        if verdict.violated and (chosen.counterexamples or not as_expected(wanted, verdict)):
            print(f"    {in_words(verdict.steps)}", flush=True)
    console.print(table)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
