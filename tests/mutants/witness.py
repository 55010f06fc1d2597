"""A pytest plugin: bears witness to whose code was tested, and to why a test failed."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from zasov.auth.v1 import common_pb2

import devstack
import services

# A mutant that fails by these is a bad mutant: the test would have failed on any nonsense.
_BROKEN = (ImportError, NameError, SyntaxError, asyncpg.SyntaxOrAccessError)

_failures: list[dict[str, Any]] = []


def pytest_sessionstart(session: pytest.Session) -> None:
    """The environment's editable install points to the work tree: it must not stand in front of the copy."""
    for module in (services, devstack, common_pb2):
        if not Path(str(module.__file__)).is_relative_to(session.config.rootpath):
            pytest.exit(f"{module.__name__} comes from {module.__file__}, not from {session.config.rootpath}", returncode=3)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if report.failed and call.excinfo is not None:
        error = call.excinfo.value
        text = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        _failures.append({"test": item.nodeid, "when": report.when, "broken": isinstance(error, _BROKEN), "why": text[:200]})
    return report


def pytest_sessionfinish() -> None:
    if path := os.environ.get("ZASOV_MUTANTS_REPORT"):
        Path(path).write_text(json.dumps(_failures))
