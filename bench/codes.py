"""`make bench-codes`: what somebody with many numbers and a day gains by guessing at codes (B4): computed, and played.

The rules are those of the default settings. Seeds are fixed: it prints the same each time.
"""

import random
import sys
from collections.abc import Callable
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from bench.guessing import LENGTHS, Otp, all_day, beforehand, bound, chance, draw, expected
from devstack.paths import BUILD
from devstack.state import write_json
from devstack.terminal import new_console
from services.otp.settings import OtpSettings

DAYS = 20_000
# Two otp servers with a pool of ten connections each.
OVERSHOOT = 20
ATTACKS: tuple[tuple[str, Callable[[Otp, int], None], int], ...] = (
    ("all day", all_day, 1),
    ("all day", all_day, 100),
    ("all day", all_day, 1_000),
    ("all day", all_day, 10_000),
    ("all day", all_day, 100_000),
    ("opened beforehand", beforehand, 100_000),
)


def main() -> int:
    """1: what was drawn is not what was computed, or an attack came to more than its bound."""
    console = new_console()
    figures = [play(*attack) for attack in ATTACKS]
    write_json(BUILD / "codes.json", figures)
    console.print(table(figures))
    console.print(f"{DAYS} days drawn a line. The same in {BUILD / 'codes.json'}", style="dim", highlight=False)
    wrong = [one for one in figures if not holds(one)]
    for one in wrong:
        console.print(f"{one['attack']}, {one['numbers']:,} numbers: does not hold")
    return 1 if wrong else 0


def holds(one: dict[str, Any]) -> bool:
    """Within the bound, check by check; and the dice agree with the formula to within four of their errors."""
    within = all(one["checks"].get(length, 0) <= one["bound_checks"].get(length, 0) for length in LENGTHS)
    return within and abs(one["drawn_taken_over"] - one["expected_taken_over"]) <= 4 * one["drawn_error"]


def play(name: str, attack: Callable[[Otp, int], None], numbers: int) -> dict[str, Any]:
    settings = OtpSettings(postgres_url="none")
    rules, brake = settings.rules(), settings.brake()
    otp, unbraked = Otp(rules, brake), Otp(rules, None)
    attack(otp, numbers)
    attack(unbraked, numbers)
    most = bound(rules, brake, numbers, OVERSHOOT)
    dice = random.Random(f"{name} {numbers}")
    right = [draw(otp.checked, dice) for _ in range(DAYS)]
    return {
        "attack": name,
        "numbers": numbers,
        "codes": dict(otp.issued),
        "checks": dict(otp.checked),
        "voided": dict(otp.voided),
        "bound_checks": most,
        "bound_taken_over": expected(most),
        "bound_chance": chance(most),
        "expected_taken_over": expected(otp.checked),
        "expected_chance": chance(otp.checked),
        "drawn_taken_over": fmean(right),
        "drawn_error": stdev(right) / DAYS**0.5,
        "drawn_chance": sum(map(bool, right)) / DAYS,
        "without_the_brake": expected(unbraked.checked),
    }


def table(figures: list[dict[str, Any]]) -> Table:
    shown = Table(title="Guessing at codes, default settings", title_justify="left")
    for heading in (
        "attack", "numbers", "codes 4/6/8", "checks 4/6/8", "taken over: bound", "expected", "drawn", "chance: bound",
        "expected", "drawn", "taken over without the brake",
    ):  # fmt: skip
        shown.add_column(heading, justify="left" if heading == "attack" else "right")
    for one in figures:
        shown.add_row(
            one["attack"], f"{one['numbers']:,}", _by_length(one["codes"]), _by_length(one["checks"]),
            f"{one['bound_taken_over']:.4f}", f"{one['expected_taken_over']:.4f}",
            f"{one['drawn_taken_over']:.4f} ± {one['drawn_error']:.4f}",
            f"{one['bound_chance']:.4f}", f"{one['expected_chance']:.4f}", f"{one['drawn_chance']:.4f}",
            f"{one['without_the_brake']:.3f}",
        )  # fmt: skip
    return shown


def _by_length(counts: dict[int, int]) -> str:
    return " / ".join(f"{counts.get(length, 0):,}" for length in LENGTHS)


if __name__ == "__main__":
    sys.exit(main())
