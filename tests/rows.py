"""`python -m tests.rows [ROW …]`: the mission's rows, and the tests that say that they prove them; of rows named, all tests."""

import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from rich.table import Table

from devstack.paths import REPO
from devstack.terminal import new_console

LIST = REPO / "docs" / "rows.toml"
LEVELS = ("unit", "integration", "e2e")


class BadList(Exception):
    """The list of rows has an id twice, no text for one, or says something of one that is not known here."""


@dataclass(frozen=True, slots=True)
class Row:
    """open: what of it is not built, whatever tests prove of the rest."""

    what: str
    open: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """The test functions, as `path::name`, that name one row; by level."""

    by_level: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def at(self, level: str) -> Sequence[str]:
        return sorted(self.by_level.get(level, ()))


def load(path: Path = LIST) -> dict[str, Row]:
    """By id, in the list's order. Raises BadList."""
    rows: dict[str, Row] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["row"]:
        if entry["id"] in rows or not entry["what"] or entry.keys() - {"id", "what", "open"}:
            raise BadList(f"{entry['id']}: twice, without a text, or with a word that is not known")
        rows[entry["id"]] = Row(entry["what"], entry.get("open", ""))
    return rows


def proofs(marked: Iterable[tuple[str, str]]) -> dict[str, Proof]:
    """Pairs of a row and a node id → what proves each row. A test with many parameters is one test."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row, node_id in marked:
        level = next((one for one in LEVELS if node_id.startswith(f"tests/{one}/")), None)
        if level is not None:
            found[row][level].add(node_id.partition("[")[0])
    return {row: Proof({level: frozenset(ids) for level, ids in levels.items()}) for row, levels in found.items()}


def table(rows: Mapping[str, Row], proven: Mapping[str, Proof]) -> Table:
    shown = Table("row", "what", *LEVELS, "e2e tests")
    for row, said in rows.items():
        proof = proven.get(row, Proof())
        what = f"{said.what}\nOpen: {said.open}" if said.open else said.what
        names = [one.rpartition("::")[2].removeprefix("test_").replace("_", " ") for one in proof.at("e2e")]
        shown.add_row(row, what, *(str(len(proof.at(level)) or "–") for level in LEVELS), "\n".join(names) or "none")
    return shown


def summary(rows: Mapping[str, Row], proven: Mapping[str, Proof]) -> str:
    without = [row for row in rows if not proven.get(row, Proof()).at("e2e")]
    in_part = [row for row, said in rows.items() if said.open and row not in without]
    return (
        f"{len(rows) - len(without)} of {len(rows)} rows have an e2e test; without: {', '.join(without) or 'none'};"
        f" with a test, and yet not built in full: {', '.join(in_part) or 'none'}"
    )


def every_test(row: str, what: str, proof: Proof) -> Table:
    """Of one row, the tests of all levels."""
    shown = Table("level", "test", title=f"{row}: {what}")
    for level in LEVELS:
        for one in proof.at(level):
            shown.add_row(level, one.removeprefix(f"tests/{level}/"))
    return shown


class _Marks:
    """Collects, as a plugin of pytest."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.pairs += [(str(row), item.nodeid) for mark in item.iter_markers("row") for row in mark.args]


def collected() -> list[tuple[str, str]]:
    """(row, node id) of every test. Runs none. Raises RuntimeError with pytest's words if they can't be collected."""
    marks, said = _Marks(), StringIO()
    with redirect_stdout(said):
        status = pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", str(REPO / "tests")], plugins=[marks])
    if status != pytest.ExitCode.OK:
        raise RuntimeError(said.getvalue())
    return marks.pairs


def main(wanted: Sequence[str]) -> int:
    rows, proven = load(), proofs(collected())
    console = new_console()
    if strange := [row for row in wanted if row not in rows]:
        console.print(f"No such row: {', '.join(strange)}")
        return 2
    if wanted:
        for row in wanted:
            console.print(every_test(row, rows[row].what, proven.get(row, Proof())))
        return 0
    console.print(table(rows, proven))
    console.print(summary(rows, proven))
    if unknown := sorted(proven.keys() - rows.keys()):
        console.print(f"Named by tests and not in the list: {', '.join(unknown)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
