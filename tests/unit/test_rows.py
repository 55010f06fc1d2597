"""`make rows`: which tests prove which row of the mission."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from devstack.paths import REPO
from tests import rows


def shown(marked: list[tuple[str, str]], known: dict[str, rows.Row]) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(rows.table(known, rows.proofs(marked)))
    return capture.get()


def test_the_list_has_every_row_of_the_mission_once_in_order() -> None:
    assert list(rows.load()) == [f"M{n}" for n in range(1, 23)] + [f"B{n}" for n in range(1, 8)]


def test_every_row_that_a_test_names_is_in_the_list() -> None:
    named = {
        row
        for path in (REPO / "tests").rglob("*.py")
        for row in re.findall(r"^\s*@pytest\.mark\.row\(\"(\w+)\"", path.read_text(), re.MULTILINE)
    }
    assert "M3" in named
    assert named <= rows.load().keys()


@pytest.mark.parametrize("more", ['[[row]]\nid = "M1"\nwhat = "b"', 'opne = "the PIN"'])
def test_a_row_that_is_listed_twice_or_with_an_unknown_word_is_refused(tmp_path: Path, more: str) -> None:
    (tmp_path / "rows.toml").write_text(f'[[row]]\nid = "M1"\nwhat = "a"\n{more}\n')
    with pytest.raises(rows.BadList, match="M1"):
        rows.load(tmp_path / "rows.toml")


def test_what_of_a_row_is_not_built_is_said_though_its_tests_prove_the_rest(tmp_path: Path) -> None:
    (tmp_path / "rows.toml").write_text('[[row]]\nid = "M1"\nwhat = "guards"\nopen = "the PIN"\n')
    known, marked = rows.load(tmp_path / "rows.toml"), [("M1", "tests/e2e/c.py::test_a_story_is_played")]
    assert re.search(r"guards.*\n.*Open: the PIN", shown(marked, known))
    assert rows.summary(known, rows.proofs(marked)).endswith("not built in full: M1")


def test_a_test_with_many_parameters_counts_once_and_for_its_own_level() -> None:
    proven = rows.proofs(
        [
            ("M1", "tests/unit/a.py::test_one[x]"),
            ("M1", "tests/unit/a.py::test_one[y]"),
            ("M1", "tests/integration/b.py::test_two"),
            ("M2", "tests/e2e/c.py::test_three"),
        ]
    )
    assert proven["M1"].at("unit") == ["tests/unit/a.py::test_one"]
    assert proven["M1"].at("integration") == ["tests/integration/b.py::test_two"]
    assert proven["M1"].at("e2e") == []
    assert proven["M2"].at("e2e") == ["tests/e2e/c.py::test_three"]


def test_the_table_names_the_e2e_tests_and_says_where_there_is_none() -> None:
    text = shown([("M1", "tests/e2e/c.py::test_a_story_is_played")], {"M1": rows.Row("sign in"), "M2": rows.Row("register")})
    first, second = (line for line in text.splitlines() if re.search(r"M[12] ", line))
    assert "a story is played" in first
    assert "none" in second


def test_of_a_row_that_is_asked_for_the_tests_of_every_level_are_named() -> None:
    marked = [("M1", "tests/unit/a.py::test_one[x]"), ("M1", "tests/e2e/c.py::test_three"), ("M2", "tests/unit/a.py::test_two")]
    console = Console(width=160)
    with console.capture() as capture:
        console.print(rows.every_test("M1", "sign in", rows.proofs(marked)["M1"]))
    named = re.findall(r"(unit|e2e) +│ (\S+)", capture.get())
    assert named == [("unit", "a.py::test_one"), ("e2e", "c.py::test_three")]
