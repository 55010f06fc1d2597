"""The lists of guards fit the code, and leave nothing out that must have one. Taking them out is `make mutants`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.guards import REPO, Guard, StaleList, load
from tests.mutants.workshop import NAMES_THAT_ARE_NOWHERE, Verdict, Workshop, _first_failure_of, _judge, _Run

GUARDS = load()


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.id)
def test_a_guard_stands_in_its_file_once_and_its_test_exists(guard: Guard) -> None:
    mutated = guard.taken_out()
    guard.check_test()
    if guard.file.endswith(".py"):
        compile(mutated, guard.file, "exec")
    assert guard.keeps.endswith("."), "a sentence: what happens without it"
    assert guard.slow == guard.test.startswith("tests/e2e/"), "slow is what needs the whole running system"


def test_what_is_put_in_a_guards_place_names_nothing_that_is_nowhere(tmp_path: Path) -> None:
    """A mutant must be wrong, not broken: its test would fail whatever it looks at."""
    for one in GUARDS:
        if one.file.endswith(".py"):
            (tmp_path / f"{one.id.replace('/', '.')}.py").write_text(one.taken_out())
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", NAMES_THAT_ARE_NOWHERE, str(tmp_path)]
    checked = subprocess.run(ruff, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_every_rule_of_the_protocol_has_a_guard() -> None:
    """Those of the table in docs/architecture.md."""
    table = (REPO / "docs" / "architecture.md").read_text().partition("## The three-strike protocol")[2]
    rules = {int(number) for number in re.findall(r"^\| (\d+) ", table, re.MULTILINE)}
    assert rules == set(range(1, 13))
    assert rules == {guard.rule for guard in GUARDS if guard.rule is not None and not guard.slow}


def test_every_row_of_which_something_is_claimed_has_a_guard() -> None:
    claimed = (REPO / "docs" / "security.md").read_text().partition("## Claimed")[2].partition("## Not claimed yet")[0]
    rows = set(re.findall(r"\b[MB]\d+\b", claimed))
    assert {"B1", "M3"} <= rows
    assert not rows - {row for guard in GUARDS if not guard.slow for row in guard.rows}


def functions_of(migration: Path) -> dict[str, str]:
    """Name → text of each function that the migration makes."""
    found = re.finditer(r"CREATE (?:OR REPLACE )?FUNCTION (\w+)\(.*?\$\$.*?\$\$;", migration.read_text(), re.DOTALL)
    return {match[1]: match[0] for match in found}


def test_every_function_in_the_databases_has_a_guard() -> None:
    """What must hold exactly is there."""
    in_force: dict[tuple[str, str], tuple[str, str]] = {}
    for path in sorted(REPO.glob("services/*/migrations/*.sql")):
        file = path.relative_to(REPO)
        for name, text in functions_of(path).items():
            # A later migration may have replaced it.
            in_force[file.parts[1], name] = str(file), text
        for name in re.findall(r"^DROP FUNCTION (\w+);", path.read_text(), re.MULTILINE):
            del in_force[file.parts[1], name]
    assert in_force["lockout", "admit_attempt"][0] == "services/lockout/migrations/0001_lockout.sql"
    without = [
        f"{file}:{name}"
        for (_, name), (file, text) in in_force.items()
        if not any(guard.file == file and guard.out in text for guard in GUARDS if not guard.slow)
    ]
    assert without == []


def guard(**changed: str) -> Guard:
    return Guard(**{"id": "a/b", "keeps": "", "file": "f.py", "out": "x", "put": "y", "test": "t.py::test_x", **changed})


@pytest.mark.parametrize("text", ["", "x x", "z"])
def test_a_text_that_does_not_occur_exactly_once_is_stale(tmp_path: Path, text: str) -> None:
    (tmp_path / "f.py").write_text(text)
    with pytest.raises(StaleList):
        guard().taken_out(tmp_path)


@pytest.mark.parametrize("text", ["", "def test_xy(): ...", "# def test_x()"])
def test_a_test_that_is_not_there_is_stale(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.py").write_text(text)
    with pytest.raises(StaleList):
        guard().check_test(tmp_path)


def test_a_list_with_an_unknown_word_or_a_name_twice_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "services" / "a" / "guards.toml"
    path.parent.mkdir(parents=True)
    entry = '[[guard]]\nid = "b"\nkeeps = ""\nfile = ""\nout = ""\nput = ""\ntest = ""\n'
    path.write_text(entry)
    assert [one.id for one in load(tmp_path)] == ["a/b"]
    for stale in (entry + "tset = 1\n", entry + entry):
        path.write_text(stale)
        with pytest.raises(StaleList):
            load(tmp_path)


FAILED = {"test": "t.py::test_x", "when": "call", "broken": False, "why": "assert 4 == 3"}


@pytest.mark.parametrize(
    ("exit_code", "failures", "verdict"),
    [
        (0, [], Verdict.SURVIVED),
        (1, [FAILED], Verdict.KILLED),
        (1, [FAILED | {"when": "teardown"}], Verdict.KILLED),
        (1, [FAILED | {"when": "setup"}], Verdict.BROKEN),
        (1, [FAILED | {"broken": True}], Verdict.BROKEN),
        (1, [], Verdict.BROKEN),
        (2, [FAILED], Verdict.BROKEN),
        (4, [], Verdict.BROKEN),
        (5, [], Verdict.BROKEN),
        (None, [], Verdict.BROKEN),
    ],
)
def test_only_a_test_that_says_no_kills_a_mutant(
    exit_code: int | None, failures: list[dict[str, object]], verdict: Verdict
) -> None:
    """An import that fails, a test that isn't found or a mutant that hangs shows nothing."""
    assert _judge(_Run(exit_code, failures, 0.0, "")).verdict is verdict


def test_a_failure_is_that_of_its_test_whatever_the_parameters() -> None:
    failures = [FAILED | {"test": "t.py::test_x[1]"}]
    assert _first_failure_of("t.py::test_x", failures) == "assert 4 == 3"
    assert _first_failure_of("t.py::test_x[1]", failures) == "assert 4 == 3"
    assert _first_failure_of("t.py::test_xy", failures) == _first_failure_of("t.py::test_x[2]", failures) == ""


def test_a_mutant_that_is_no_program_or_names_what_is_nowhere_is_broken_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("a = 1\nprint(a, 'x')\n")
    for put in ("')", "' + nowhere + '"):
        assert Workshop(tmp_path, {}).without(guard(put=put), 1.0).verdict is Verdict.BROKEN
    assert (tmp_path / "f.py").read_text() == "a = 1\nprint(a, 'x')\n"
