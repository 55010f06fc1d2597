"""Runs TLC, and reads what it found."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack import jars
from devstack.paths import JAVA

MODELS = Path(__file__).parent


class TlcFailed(RuntimeError):
    """TLC did not get as far as a verdict: its last lines."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a counterexample: an action of the model, and the variables after it, as TLC writes them."""

    action: str
    after: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """violated: the property that does not hold; None: all hold. states: distinct ones. printed: what Print wrote."""

    violated: str | None
    states: int
    depth: int
    seconds: float
    steps: tuple[Step, ...]
    printed: tuple[str, ...]


def configuration(
    constants: Mapping[str, str],
    *,
    specification: str = "Spec",
    invariants: Sequence[str] = (),
    properties: Sequence[str] = (),
    symmetry: str | None = None,
) -> str:
    """The text of a .cfg file."""
    lines = [f"SPECIFICATION {specification}", "CHECK_DEADLOCK FALSE", "CONSTANTS"]
    lines += [f"    {name} = {value}" for name, value in constants.items()]
    lines += [f"INVARIANT {name}" for name in invariants]
    lines += [f"PROPERTY {name}" for name in properties]
    return "\n".join([*lines, *([f"SYMMETRY {symmetry}"] if symmetry else [])]) + "\n"


def run(
    module: str, config: str, *, generated: Mapping[str, str] | None = None, workers: str = "1", timeout_s: float = 600
) -> Verdict:
    """Checks a module of this folder; `generated`: texts of further ones, by name.

    Raises TlcFailed; subprocess.TimeoutExpired.
    """
    class_path = jars.class_path(JAVA / "tlc")
    with tempfile.TemporaryDirectory(prefix="zasov-tlc-") as folder:
        # TLC finds modules and configurations in the folder that it runs in, and leaves its own files there.
        for path in MODELS.glob("*.tla"):
            shutil.copy(path, folder)
        for name, text in (generated or {}).items():
            (Path(folder) / f"{name}.tla").write_text(text)
        (Path(folder) / "chosen.cfg").write_text(config)
        argv = [
            *[jars.java(), "-XX:+UseParallelGC", "-Xmx2g", "-Xss64m", f"-Djava.io.tmpdir={folder}"],
            *["-cp", class_path, "tlc2.TLC", "-workers", workers, "-config", "chosen.cfg", module],
        ]
        started = time.monotonic()
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    return _read(done.stdout + done.stderr, time.monotonic() - started)


def _read(output: str, seconds: float) -> Verdict:
    found = re.search(r"Error: (?:Invariant|Action property) (\w+) is violated", output)
    violated = found[1] if found else None
    if violated is None and "Temporal properties were violated" in output:
        violated = "a liveness property"
    counted = re.findall(r"([\d,]+) distinct states found", output)
    if violated is None and "No error has been found" not in output:
        raise TlcFailed(output[-3000:])
    depth = re.search(r"depth of the complete state graph search is (\d+)", output)
    steps = tuple(_step(*found) for found in re.findall(r"^State \d+: <(\w+)[^>]*>\n((?:.+\n)+)", output, re.M))
    steps = steps[1:]  # the first is the state before any
    printed = tuple(re.findall(r"^(<<.*>>)$", output, re.M))
    states = int(counted[-1].replace(",", "")) if counted else 0
    return Verdict(violated, states, int(depth[1]) if depth else 0, seconds, steps, printed)


def _step(action: str, state: str) -> Step:
    values = re.split(r"^/\\ (\w+) = ", state, flags=re.M)[1:]
    return Step(action, {name: " ".join(value.split()) for name, value in zip(values[::2], values[1::2], strict=True)})
