"""The protocol's trace of a subscriber's day: every step of it, and nothing that anybody typed."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import IP, NEW_PASSWORD, PASSWORD, PHONE, UNKNOWN_PHONE, refusal


def written_in(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.iterdir())


@pytest.mark.row("B2")
async def test_the_trace_holds_every_step_of_an_attempt_and_no_secret(start: StartSuite, tmp_path: Path) -> None:
    suite = await start(auth={"protocol_trace": str(tmp_path)}, lockout={"protocol_trace": str(tmp_path)})
    await suite.register()
    wrong = "Osen-na-Volge-9"
    await refusal(suite.auth.sign_in(password=wrong))
    await suite.auth.sign_in()
    await refusal(suite.auth.sign_in(UNKNOWN_PHONE))
    await suite.play_stream()
    for _ in range(3):
        await refusal(suite.auth.sign_in(password=wrong))
    await suite.play_stream()
    await refusal(suite.auth.sign_in())
    await suite.recover()

    text = written_in(tmp_path)
    for secret in (wrong, PASSWORD, NEW_PASSWORD, PHONE.lstrip("+"), UNKNOWN_PHONE.lstrip("+"), IP, "device-of-the-test"):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    steps = defaultdict(list)
    for line in lines:
        for attempt in {
            line.get("attempt"),
            *(event["attempt"] for event in line.get("events", []) if isinstance(event, dict)),
        }:
            steps[attempt].append(line["step"])
    of_attempts = sorted(tuple(sorted(told)) for attempt, told in steps.items() if attempt)
    assert of_attempts == sorted(
        [
            *[("admit", "append", "asked", "evaluated", "failure", "heard")] * 5,
            ("admit", "append", "asked", "evaluated", "heard", "settle_right", "settling"),
            ("admit", "asked"),
        ]
    )
    assert {"raise_epoch", "started"} <= {line["step"] for line in lines}
