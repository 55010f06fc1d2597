"""Traces written by hand: what the validator makes of them. Those of running services: tests/integration/auth, tests/e2e."""

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from models.validate import validate

pytestmark = pytest.mark.row("B1")

Line = dict[str, Any]


def given_back(subject: str, place: int) -> list[Line]:
    """An attempt, admitted and given back."""
    about = {"subject": subject, "attempt": str(uuid4())}
    now = {"version": 0, "epoch": 0, "strikes": 0}
    return [
        {"step": "asked", **about},
        {"step": "admit", **about, "outcome": "admitted", "place": place, "open": 1, **now},
        {"step": "give_back", **about, "outcome": "gone", "place": place + 1, "open": 0, **now},
    ]


def write(folder: Path, lines: list[Line]) -> None:
    (folder / f"lockout-server-{os.getpid()}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


async def test_a_subject_may_have_any_number_of_attempts(tmp_path: Path) -> None:
    """TLC evaluates some definitions before it starts: none may grow with the permutations of the attempts."""
    write(tmp_path, [line for number in range(40) for line in given_back("somebody", 2 * number)])
    report = await validate(tmp_path)
    assert report.violations == []
    assert report.counts["attempts"] == 40


async def test_a_place_that_was_never_given_back_is_missed(tmp_path: Path) -> None:
    lines = [line for number in range(4) for line in given_back("somebody", 2 * number)]
    write(tmp_path, [line for line in lines if line["step"] != "give_back" or line["place"] > 5])
    (violation,) = (await validate(tmp_path)).violations
    assert violation.startswith("somebody: no behaviour of the model goes on with lockout's")
