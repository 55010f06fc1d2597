"""A copy of the tree in which guards are taken out: a run that breaks off leaves nothing behind in the work tree."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.mutants.guards import REPO, Guard

_COPIED = ("services", "devstack", "protos", "tests", "bench", "models", "pyproject.toml")
# The jars of the Java tools are large, and are shared.
_JARS = ".jgo"
_NOT_COPIED = shutil.ignore_patterns("__pycache__", _JARS)
# Hypothesis works without its plugin, whose import takes longer than most of the tests.
_PYTEST = ("-m", "pytest", "-q", "-p", "tests.mutants.witness", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
_PASSED, _TESTS_FAILED = 0, 1
NAMES_THAT_ARE_NOWHERE = "--select=F821,F823"


class Verdict(StrEnum):
    """BROKEN: it failed, but not because the test saw it. A mutant that hangs is broken too: a test must say no."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Result:
    """why: of a killed one, what the test said first; of a broken one, what went wrong."""

    verdict: Verdict
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class _Run:
    exit_code: int | None
    failures: list[dict[str, Any]]
    seconds: float
    output: str


class Workshop:
    """One copy, for one mutant at a time. environment: where the tests' PostgreSQL and Kafka are."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self._root = root
        self._environment = environment

    def unmutated(self, tests: Sequence[str], timeout_s: float) -> dict[str, str]:
        """Of the tests that fail with all guards in place: why. Leaves the compiled modules that the mutants then share."""
        run = self._run(tests, timeout_s, {})
        failed = {test: _first_failure_of(test, run.failures) for test in tests}
        if run.exit_code not in (_PASSED, _TESTS_FAILED) or (run.exit_code and not any(failed.values())):
            return dict.fromkeys(tests, run.output[-300:])
        return {test: why for test, why in failed.items() if why}

    def without(self, guard: Guard, timeout_s: float) -> Result:
        """Raises StaleList."""
        path = self._root / guard.file
        kept, mutated = path.read_text(), guard.taken_out(self._root)
        if path.suffix == ".py" and (wrong := _cannot_run(path.name, mutated)):
            return Result(Verdict.BROKEN, 0.0, wrong)
        path.write_text(mutated)
        try:
            # Nothing compiled from a mutant may outlive it, and nothing compiled before stand for it.
            for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
                compiled.unlink()
            return _judge(self._run(["-x", guard.test], timeout_s, {"PYTHONDONTWRITEBYTECODE": "1"}))
        finally:
            path.write_text(kept)

    def _run(self, arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> _Run:
        report = self._root / "report.json"
        report.unlink(missing_ok=True)
        command = [sys.executable, *_PYTEST, *arguments]
        paths = os.pathsep.join([str(self._root), str(self._root / "protos" / "gen")])
        own = {"PYTHONPATH": paths, "ZASOV_MUTANTS_REPORT": str(report), **self._environment, **environment}
        started = time.monotonic()
        # To a file: what a test's own children inherit of a pipe would keep it open after they were to be gone.
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, cwd=self._root, env={**os.environ, **own}, stdout=output, stderr=output, start_new_session=True
            )
            try:
                exit_code: int | None = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                exit_code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            text = output.read()
        failures = json.loads(report.read_text()) if report.exists() else []
        return _Run(exit_code, failures, time.monotonic() - started, text)


@contextmanager
def workshops(number: int, environment: Mapping[str, str]) -> Iterator[list[Workshop]]:
    """So many copies of this tree, each with what is uncommitted."""
    with tempfile.TemporaryDirectory(prefix="zasov-mutants-") as folder:
        made = []
        for n in range(number):
            root = Path(folder) / str(n)
            root.mkdir()
            for name in _COPIED:
                source = REPO / name
                if source.is_dir():
                    shutil.copytree(source, root / name, ignore=_NOT_COPIED)
                else:
                    shutil.copy2(source, root / name)
            for jars in REPO.glob(f"devstack/java/*/{_JARS}"):
                (root / jars.relative_to(REPO)).symlink_to(jars)
            made.append(Workshop(root, environment))
        yield made


def _cannot_run(name: str, source: str) -> str:
    """What makes the text no program: a mutant must be wrong, not broken. Names that are nowhere count too."""
    try:
        compile(source, name, "exec")
    except SyntaxError as error:
        return f"{name}:{error.lineno}: {error.msg}"
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--quiet",
        NAMES_THAT_ARE_NOWHERE,
        f"--stdin-filename={name}",
        "-",
    ]
    checked = subprocess.run(ruff, input=source, text=True, capture_output=True, check=False)
    return checked.stdout.strip().partition("\n")[0]


def _first_failure_of(test: str, failures: Sequence[Mapping[str, Any]]) -> str:
    return next((one["why"] for one in failures if one["test"] == test or one["test"].startswith(f"{test}[")), "")


def _judge(run: _Run) -> Result:
    if run.exit_code is None:
        return Result(Verdict.BROKEN, run.seconds, "it hangs")
    if run.exit_code == _PASSED:
        return Result(Verdict.SURVIVED, run.seconds, "")
    broken = [one for one in run.failures if one["broken"] or one["when"] == "setup"]
    if run.exit_code != _TESTS_FAILED or broken or not run.failures:
        why = broken[0]["why"] if broken else run.output[-300:]
        return Result(Verdict.BROKEN, run.seconds, why)
    return Result(Verdict.KILLED, run.seconds, run.failures[0]["why"])
