"""What the services did is a behaviour of the model; what a trace was doctored to say is not."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from models.stores import compare
from models.traces import read
from models.validate import validate
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, UNKNOWN_PHONE, Auth, Suite

pytestmark = [pytest.mark.row("B1"), pytest.mark.row("M3")]

Line = dict[str, Any]
WRONG = "Osen-na-Volge-9"
# No process has this id: Linux gives out 22 bits at most.
DEAD = 2**30


async def guess(auth: Auth, phone: str, password: str) -> None:
    with suppress(grpc.aio.AioRpcError):
        await auth.sign_in(phone, password)


async def a_busy_day(suite: Suite) -> None:
    """Two servers; right, wrong and unknown, one by one and in crowds; blocked, recovered, changed; lost and swept up."""
    auths = [suite.auth, await suite.start_auth()]
    await suite.register()
    await suite.register(OTHER_PHONE)
    async with suite.streaming():
        for phone in (PHONE, OTHER_PHONE, UNKNOWN_PHONE):
            crowd = [PASSWORD, *(f"{WRONG}-{number}" for number in range(12)), PASSWORD]
            await asyncio.gather(*(guess(auths[n % 2], phone, password) for n, password in enumerate(crowd)))
            for password in (WRONG, PASSWORD, WRONG, WRONG, PASSWORD):
                await guess(auths[0], phone, password)
    await asyncio.gather(suite.recover(PHONE), *(guess(auths[n % 2], PHONE, WRONG) for n in range(6)))
    await asyncio.gather(*(guess(auths[n % 2], PHONE, NEW_PASSWORD) for n in range(12)))
    # The stream stands still: the success names the failure before it.
    await guess(auths[0], PHONE, WRONG)
    await guess(auths[1], PHONE, NEW_PASSWORD)
    session = await suite.recover(OTHER_PHONE)
    await suite.auth.change(session.token, NEW_PASSWORD, PASSWORD)
    async with suite.streaming():
        await guess(auths[1], OTHER_PHONE, NEW_PASSWORD)
        await guess(auths[1], OTHER_PHONE, PASSWORD)


@dataclass(frozen=True)
class Day:
    folder: Path
    databases: dict[str, str]
    subjects: list[str]


@pytest.fixture
async def day(start: StartSuite, urls: dict[str, str], tmp_path: Path) -> Day:
    traced = {"protocol_trace": str(tmp_path / "traces")}
    suite = await start(auth=traced, lockout={**traced, "admission_wait_s": 0.5})
    await a_busy_day(suite)
    await suite.play_stream()
    rows = await suite.sql.fetch("SELECT stream_id FROM event WHERE type = 'AccountRegistered' ORDER BY occurred_at")
    subjects = [str(row["stream_id"]) for row in rows]
    return Day(tmp_path / "traces", {name: urls[name] for name in ("auth", "lockout")}, subjects)


Doctor = Callable[[list[Line]], None]


def of_step(lines: list[Line], step: str, outcome: str | None = None, **rest: object) -> Line:
    """The first such line."""
    wanted = {"step": step, **rest} | ({} if outcome is None else {"outcome": outcome})
    return next(line for line in lines if wanted.items() <= line.items())


def evaluate_a_fourth(lines: list[Line]) -> None:
    told = of_step(lines, "evaluated", right=False)
    lines.append({**told, "attempt": str(uuid4())})


def evaluate_twice(lines: list[Line]) -> None:
    lines.append(of_step(lines, "evaluated", right=False))


def admit_a_fourth(lines: list[Line]) -> None:
    full = of_step(lines, "admit", "full")
    full |= {"outcome": "admitted", "open": full["open"] + 1}


def strike_without_an_attempt(lines: list[Line]) -> None:
    strike = of_step(lines, "failure", "closed", strikes=1)
    lines.append({**strike, "attempt": str(uuid4()), "place": strike["place"] + 0.5, "strikes": 2})


def strike_twice(lines: list[Line]) -> None:
    strike = of_step(lines, "failure", "closed", strikes=1)
    lines.append({**strike, "place": strike["place"] + 0.5, "strikes": 2})


def settle_after_the_sweep(lines: list[Line]) -> None:
    settled = of_step(lines, "settle_right", "settled")
    lines.append({**settled, "step": "abandon", "outcome": "closed", "place": settled["place"] - 0.5, "strikes": 1})


def forgive_nothing(lines: list[Line]) -> None:
    next(line for line in lines if line["step"] == "settle_right" and line["earlier"])["earlier"] = []


def succeed_after_the_reset(lines: list[Line]) -> None:
    events = [event for line in lines if line["step"] == "append" for event in line["events"]]
    reset = next(event for event in events if event["type"] == "PasswordReset")
    before = [event for event in events if event["type"] == "LoginSucceeded" and event["version"] < reset["version"]]
    max(before, key=lambda event: event["version"])["version"] = reset["version"] + 0.5


def lower_the_epoch(lines: list[Line]) -> None:
    raised = max((line for line in lines if line["step"] == "raise_epoch"), key=lambda line: line["place"])
    lines.append({**raised, "to": raised["to"] - 1, "epoch": raised["epoch"] - 1, "place": raised["place"] + 0.5})


def keep_a_strike_through_a_success(lines: list[Line]) -> None:
    of_step(lines, "settle_right", "settled")["strikes"] = 1


def lose_an_admission(lines: list[Line]) -> None:
    lines.remove(of_step(lines, "admit", "admitted"))


DOCTORS: tuple[Doctor, ...] = (
    evaluate_a_fourth, evaluate_twice, admit_a_fourth, strike_without_an_attempt, strike_twice, settle_after_the_sweep,
    forgive_nothing, succeed_after_the_reset, lower_the_epoch, keep_a_strike_through_a_success,
    lose_an_admission,
)  # fmt: skip


def about(folder: Path, subject: str) -> list[Line]:
    lines = [json.loads(line) for path in folder.iterdir() for line in path.read_text().splitlines()]
    return [line for line in lines if subject in (line.get("subject"), line.get("stream"))]


def under_another_name(lines: list[Line], subject: str) -> tuple[str, list[Line]]:
    """The same story of somebody else, with attempts of their own."""
    other = str(uuid4())
    attempts = {attempt: str(uuid4()) for attempt in {line["attempt"] for line in lines if "attempt" in line}}
    text = json.dumps(lines)
    for old, new in {subject: other, **attempts}.items():
        text = text.replace(old, new)
    return other, json.loads(text)


def write(folder: Path, lines: list[Line], *, pid: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / f"lockout-server-{pid}.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


async def test_a_busy_day_is_a_behaviour_of_the_model_and_doctored_in_any_way_it_is_not(day: Day, tmp_path: Path) -> None:
    report = await validate(day.folder, day.databases)
    assert report.violations == []
    assert report.counts["subjects"] == 3
    for kind in ("admit", "full", "blocked", "strike", "settle", "raise", "record", "success", "reset", "change"):
        assert report.counts[kind] > 0, kind

    of_phone = about(day.folder, day.subjects[0])
    doctored = {}
    for doctor in DOCTORS:
        name, told = under_another_name(of_phone, day.subjects[0])
        doctor(told)
        write(tmp_path / "doctored", told)
        doctored[name] = doctor.__name__
    _, told = under_another_name(of_phone, day.subjects[0])
    write(tmp_path / "doctored", told)
    rejected = [one.partition(":")[0] for one in (await validate(tmp_path / "doctored")).violations]
    assert sorted(doctored.get(one, "not doctored") for one in rejected) == sorted(doctor.__name__ for doctor in DOCTORS)

    # A line may be missing if the process that owes it was killed.
    lose_an_admission(of_phone)
    write(tmp_path / "killed", [{"step": "started"}, *of_phone], pid=DEAD)
    assert (await validate(tmp_path / "killed")).violations == []


async def test_what_is_stored_and_what_is_traced_must_be_the_same(day: Day, tmp_path: Path) -> None:
    lines = [json.loads(line) for path in day.folder.iterdir() for line in path.read_text().splitlines()]
    strike = of_step(lines, "failure", "closed", strikes=1)
    lines.remove(strike)
    lines.append({**strike, "attempt": str(uuid4())})
    failure = next(line for line in lines if line["step"] == "append" and line["events"][0]["type"] == "LoginFailed")
    lines.remove(failure)
    write(tmp_path / "doctored", lines)
    disagreements, counts = await compare(read(tmp_path / "doctored"), day.databases["auth"], day.databases["lockout"])
    assert [one.partition(":")[0] for one in disagreements] == ["traced, but not stored", *["stored, but not traced"] * 2]
    assert counts["stored"] > 20
