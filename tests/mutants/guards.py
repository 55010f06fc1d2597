"""The guards: lines that keep something bad from happening, each with the text that takes it out and the test that sees it.

A service keeps its list beside its code, in `services/<service>/guards.toml`.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]


class StaleList(Exception):
    """A list that no longer fits the code."""


@dataclass(frozen=True, slots=True)
class Guard:
    """One entry of a list.

    id: service/name. keeps: what would happen without it. rule: of the three-strike protocol (docs/architecture.md), 1 to 12.
    rows: of the mission. file: relative to the repository. out: the text that is the guard, which occurs once. put: what
    stands there when it is taken out. also: further pairs of the two, for a guard of two halves, sealing and opening say.
    test: the node id of a test that fails then. slow: a test of the whole running system.
    """

    id: str
    keeps: str
    file: str
    out: str
    put: str
    test: str
    rule: int | None = None
    rows: tuple[str, ...] = ()
    slow: bool = False
    also: tuple[tuple[str, str], ...] = ()

    def taken_out(self, root: Path = REPO) -> str:
        """The file's text without the guard. Raises StaleList."""
        text = (root / self.file).read_text()
        for out, put in ((self.out, self.put), *self.also):
            if text.count(out) != 1 or out == put:
                raise StaleList(f"{self.id}: what is taken out occurs {text.count(out)} times in {self.file}:\n{out}")
            text = text.replace(out, put)
        return text

    def check_test(self, root: Path = REPO) -> None:
        """Raises StaleList."""
        path, _, name = self.test.partition("::")
        function = re.escape(name.partition("[")[0])
        if not (root / path).is_file() or not re.search(
            rf"^(async )?def {function}\(", (root / path).read_text(), re.MULTILINE
        ):
            raise StaleList(f"{self.id}: there is no test {self.test}")


def load(root: Path = REPO) -> list[Guard]:
    """All of them, in the order of their lists. Raises StaleList."""
    guards = [_guard(path, entry) for path in sorted(root.glob("services/*/guards.toml")) for entry in _entries(path)]
    ids = [guard.id for guard in guards]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise StaleList(f"twice in the lists: {twice}")
    return guards


def _entries(path: Path) -> list[dict[str, Any]]:
    return list(tomllib.loads(path.read_text()).get("guard", []))


def _guard(path: Path, entry: dict[str, Any]) -> Guard:
    folder = path.parent.relative_to(path.parents[2])
    try:
        entry["id"] = f"{path.parent.name}/{entry['id']}"
        entry["file"] = str(folder / entry["file"])
        return Guard(**entry | {"rows": tuple(entry.get("rows", ())), "also": tuple(map(tuple, entry.get("also", ())))})
    except (KeyError, TypeError) as error:
        raise StaleList(f"{path.parent.name}: {entry.get('id')}: {error}") from None
