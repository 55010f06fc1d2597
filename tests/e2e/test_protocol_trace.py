"""Whatever is killed, what the processes of the running system did is a behaviour of the model."""

import asyncio
import contextlib
from pathlib import Path

import grpc
import pytest

from devstack.stack import Stack
from devstack.subscriber import Subscriber
from models.validate import validate
from services.chassis.errors import ServiceError
from tests.e2e.system import NEW_PASSWORD, PASSWORD, WRONG, System, until

pytestmark = [pytest.mark.kills, pytest.mark.row("B1"), pytest.mark.row("M3")]

_KILLED = ("auth-server", "lockout-server", "lockout-stream")


async def guess(person: Subscriber, password: str) -> None:
    with contextlib.suppress(ServiceError, grpc.aio.AioRpcError):
        await person.sign_in(password)


async def test_traces_of_a_run_with_kills_are_behaviours_of_the_model(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    overrides = {
        "otp": {"ZASOV_OTP_COOL_DOWN_S": "1"},
        "auth": {"ZASOV_AUTH_PROTOCOL_TRACE": str(traces)},
        "lockout": {
            "ZASOV_LOCKOUT_PROTOCOL_TRACE": str(traces),
            "ZASOV_LOCKOUT_SWEEP_AGE_S": "10",
            "ZASOV_LOCKOUT_SWEEP_EVERY_S": "1",
        },
    }
    stack = await asyncio.to_thread(Stack(tmp_path / "stack", settings_overrides=overrides).up)
    try:
        async with System(stack) as system:
            for victim in _KILLED:
                people = [await system.registered() for _ in range(3)]
                crowd = [PASSWORD, *(f"{WRONG}-{number}" for number in range(4)), PASSWORD]
                guesses = asyncio.gather(*(guess(person, password) for person, _ in people for password in crowd))
                await until(lambda: system.status(people[0][1]), lambda status: status.open_attempts > 0)  # noqa: B023
                system.stack.supervisor.kill(victim)
                system.stack.supervisor.restart(victim)
                await asyncio.to_thread(system.stack.wait_role, victim)
                await guesses
                for person, account_id in people:
                    await system.until_settled(account_id)
                    await guess(person, PASSWORD)
                await people[0][0].recover(NEW_PASSWORD)
                await guess(people[0][0], NEW_PASSWORD)
                await system.until_settled(people[0][1])
            report = await validate(traces, stack.at.databases)
    finally:
        await asyncio.to_thread(stack.down)
    print(report.counts)
    assert report.violations == []
    assert report.counts["crashed"] == len(_KILLED)
    assert report.counts["subjects"] == 3 * len(_KILLED)
