"""The protocol's trace: off by default, one line a step, doubt where a step may or may not have happened."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.auth.settings import AuthSettings
from services.chassis.protocol_trace import OFF, open_trace
from services.lockout.settings import LockoutSettings


def lines_in(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.iterdir()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("settings", [AuthSettings, LockoutSettings])
def test_it_is_off_by_default_and_writes_nothing(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_trace(settings(postgres_url="postgresql://here/it").protocol_trace, "auth", "server") as trace:
        assert trace is OFF
        trace.write("asked", attempt=uuid4())
        with trace.step("admit") as line:
            line.say(outcome="admitted")
    assert list(tmp_path.iterdir()) == []


def test_each_step_is_one_line_of_a_file_of_the_processs_own(tmp_path: Path) -> None:
    attempt = uuid4()
    with open_trace(str(tmp_path / "traces"), "lockout", "server") as trace:
        with trace.step("admit", attempt=attempt) as line:
            line.say(outcome="admitted", place=7)
        trace.write("heard", right=True, earlier=[attempt])
    assert lines_in(tmp_path / "traces") == [
        {"step": "started", "service": "lockout", "role": "server"},
        {"step": "admit", "attempt": str(attempt), "outcome": "admitted", "place": 7},
        {"step": "heard", "right": True, "earlier": [str(attempt)]},
        {"step": "stopped"},
    ]


def test_a_step_that_fails_is_in_doubt_and_one_that_did_nothing_leaves_no_line(tmp_path: Path) -> None:
    with open_trace(str(tmp_path), "auth", "server") as trace:
        with pytest.raises(OSError, match="the connection broke"), trace.step("append", stream="s"):
            raise OSError("the connection broke")
        with trace.step("append", stream="t") as line:
            line.drop()
    assert lines_in(tmp_path)[1:-1] == [{"step": "append", "stream": "s", "doubt": True}]


def test_a_process_that_died_has_not_said_that_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_trace(str(tmp_path), "lockout", "stream"):
        raise RuntimeError
    assert [line["step"] for line in lines_in(tmp_path)] == ["started"]
