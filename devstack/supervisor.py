"""Runs named processes side by side, each of which a test can kill, pause or restart by itself.

Why this is not honcho: docs/adr/0001-own-supervisor.md.
"""

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from devstack.child import GRACE_SECONDS, Child, runs
from devstack.state import read_json, write_json
from devstack.waiting import NotReady, until


@dataclass(frozen=True)
class _Recipe:
    argv: Sequence[str]
    env: Mapping[str, str] | None
    user: str | None
    stop_signal: int
    tier: int


class Supervisor:
    """Processes by name, each with a log of its own. Nothing is restarted unless it is asked for.

    They die with this process unless `detached`; then `stop_recorded` ends them, from whichever process.
    """

    def __init__(self, state_dir: Path, *, detached: bool = False) -> None:
        self.state_dir = state_dir
        self._detached = detached
        self._recipes: dict[str, _Recipe] = {}
        self._children: dict[str, Child] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        *,
        stop_signal: int = signal.SIGTERM,
        tier: int = 0,
    ) -> None:
        """Starts a process. A higher `tier` stops earlier: services before the parts that they stand on."""
        if self.is_alive(name):
            raise ValueError(f"{name} runs already")
        self._recipes[name] = _Recipe(argv, env, user, stop_signal, tier)
        self._launch(name)

    def restart(self, name: str) -> None:
        """Stops it if it runs, and starts it as it was started before."""
        self.stop(name)
        self._launch(name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends any signal (SIGSTOP, SIGCONT …). After SIGKILL it has ended, with its children, on return."""
        self._children[name].send(number)

    def stop(self, name: str, grace: float = GRACE_SECONDS) -> None:
        self._children[name].stop(grace)

    def stop_all(self, grace: float = GRACE_SECONDS) -> None:
        """Tier by tier, highest first; the processes of a tier together."""
        for tier in sorted({recipe.tier for recipe in self._recipes.values()}, reverse=True):
            names = [name for name in self._children if self._recipes[name].tier == tier and self.is_alive(name)]
            if names:
                with ThreadPoolExecutor(max_workers=len(names)) as pool:
                    list(pool.map(lambda name: self.stop(name, grace), names))
        self._record()

    def pid(self, name: str) -> int:
        return self._children[name].pid

    def is_alive(self, name: str) -> bool:
        return name in self._children and self._children[name].is_alive

    def names(self) -> list[str]:
        return list(self._children)

    def log_path(self, name: str) -> Path:
        return log_path(self.state_dir, name)

    def raise_if_dead(self, name: str) -> None:
        """Raises `ProcessDied`, with the end of its log, if the process has ended."""
        if not self.is_alive(name):
            child = self._children[name]
            raise ProcessDied(f"{name} has ended with status {child.returncode}:\n{child.log_tail()}")

    def _launch(self, name: str) -> None:
        recipe = self._recipes[name]
        self._children[name] = Child(
            recipe.argv,
            log=self.log_path(name),
            env=recipe.env,
            user=recipe.user,
            detached=self._detached,
            stop_signal=recipe.stop_signal,
        )
        self._record()

    def _record(self) -> None:
        alive = {name: child for name, child in self._children.items() if child.is_alive}
        write_json(
            record_path(self.state_dir),
            {
                name: {
                    "pid": child.pid,
                    "started_at": child.started_at,
                    "stop_signal": int(self._recipes[name].stop_signal),
                    "tier": self._recipes[name].tier,
                }
                for name, child in alive.items()
            },
        )


class ProcessDied(RuntimeError):
    """A process that should run has ended."""


def record_path(state_dir: Path) -> Path:
    return state_dir / "stack.json"


def log_path(state_dir: Path, name: str) -> Path:
    return state_dir / "logs" / f"{name}.log"


def recorded(state_dir: Path) -> dict[str, psutil.Process | None]:
    """Each process that was left running there; None for one that has ended since."""
    found: dict[str, psutil.Process | None] = {}
    for name, row in read_json(record_path(state_dir), {}).items():
        found[name] = None
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(row["pid"])
            # The same pid may be somebody else's by now: only the start time makes it the same process. Some slack,
            # because it is reckoned from the boot time, which moves when the clock is set.
            if abs(process.create_time() - row["started_at"]) < 2.0 and runs(process):
                found[name] = process
    return found


def stop_recorded(state_dir: Path, grace: float = GRACE_SECONDS) -> list[str]:
    """Ends what was left running there, tier by tier; returns the names of what had to be killed."""
    rows = read_json(record_path(state_dir), {})
    left = {name: process for name, process in recorded(state_dir).items() if process}
    killed: list[str] = []
    for tier in sorted({row["tier"] for row in rows.values()}, reverse=True):
        names = [name for name in left if rows[name]["tier"] == tier]
        for name in names:
            _signal(left[name], rows[name]["stop_signal"], signal.SIGCONT)
        with suppress(NotReady):
            _await_end([left[name] for name in names], grace)
        for name in names:
            if runs(left[name]):
                killed.append(name)
                _signal(left[name], signal.SIGKILL)
        _await_end([left[name] for name in names], grace)
    record_path(state_dir).unlink(missing_ok=True)
    return killed


def _await_end(processes: list[psutil.Process], timeout: float) -> None:
    until("the end of the processes", lambda: not any(map(runs, processes)), timeout=timeout)


def _signal(process: psutil.Process, *numbers: int) -> None:
    for number in numbers:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.send_signal(number)


def environment(*groups: Mapping[str, str], drop: Iterable[str] = ()) -> dict[str, str]:
    """This process's environment without what would change a service's settings, plus the given variables."""
    dropped = ("ZASOV_", "PG", *drop)
    merged = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    merged["PYTHONUNBUFFERED"] = "1"  # else the last lines before a kill -9 never reach the log
    for group in groups:
        merged |= group
    return merged
