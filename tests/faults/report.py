"""The table, and the same as build/faults.json."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from devstack.paths import BUILD
from devstack.state import write_json
from tests.faults.calls import OK, Call


@dataclass
class Line:
    """One fault, all of its rounds. restarted: processes that ended by themselves, as an orchestrator would restart them."""

    fault: str
    rounds: int = 0
    right: int = 0
    wrong: int = 0
    unclear: int = 0
    seconds: float = 0.0
    restarted: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def count(self, calls: list[Call]) -> None:
        """right: done; wrong: refused, or nothing that counts."""
        for call in calls:
            if call.is_unclear:
                self.unclear += 1
            elif call.answer == OK:
                self.right += 1
            else:
                self.wrong += 1


def write(console: Console, lines: list[Line], facts: dict[str, Any]) -> int:
    """Returns the number of violations. They are printed last: of a long log often only the end is kept."""
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False, markup=False)
    columns = ("fault", "rounds", "right", "wrong", "unclear", "s", "violations")
    table = Table(*columns, title="Faults under load: calls, and what breaks an invariant", title_justify="left")
    for line in lines:
        numbers = (line.rounds, line.right, line.wrong, line.unclear, round(line.seconds), len(line.violations))
        table.add_row(line.fault, *map(str, numbers), style="red" if line.violations else None)
    total = sum(len(line.violations) for line in lines)
    console.print(table)
    rows = [{**vars(line), "restarted": dict(line.restarted), "seconds": round(line.seconds, 1)} for line in lines]
    write_json(BUILD / "faults.json", {"violations": total, **facts, "faults": rows})
    console.print(f"The same in {BUILD / 'faults.json'}", style="dim", highlight=False)
    for line in lines:
        for name, count in line.restarted.items():
            console.print(f"{line.fault}: {name} ended by itself and was started anew ({count})", style="yellow", markup=False)
    for line in lines:
        for text in line.violations:
            console.print(f"{line.fault}: {text}", style="red", highlight=False, markup=False, soft_wrap=True)
    return total
