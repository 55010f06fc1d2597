"""The faults: what is done to whom, and for how long. A new role joins with a line in TARGETS."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devstack.stack import Stack
from devstack.supervisor import ProcessDied
from tests.faults.stage import LONG_PAUSE_S, third_stream

_READY_WITHIN_S = 180.0
_SKEWED_CLOCK = Path(__file__).parent / "skewed_clock"
# Since the report was last written.
DIED_COMING_BACK: Counter[str] = Counter()
INFRASTRUCTURE = frozenset({"postgres", "kafka", "smsc", "mail"})


@dataclass(frozen=True)
class Action:
    """inflict and heal block until they are done; in between `holds_s` pass under load."""

    name: str
    inflict: Callable[[Stack, str], None]
    heal: Callable[[Stack, str], None]
    holds_s: float


@dataclass(frozen=True)
class Fault:
    """Things done at the same moment, each to one process. harmless: all must go on meanwhile as if nothing were."""

    name: str
    parts: tuple[tuple[Action, str], ...]
    harmless: bool = False

    @property
    def victims(self) -> set[str]:
        return {process for _, process in self.parts}

    async def strike(self, stack: Stack) -> None:
        await asyncio.gather(*(asyncio.to_thread(action.inflict, stack, process) for action, process in self.parts))

    async def hold(self) -> None:
        """A fault lasts for a time: that is what it is."""
        await asyncio.sleep(max(action.holds_s for action, _ in self.parts))

    async def heal(self, stack: Stack) -> None:
        # What the others stand on comes back first.
        for infrastructure in (True, False):
            parts = [one for one in self.parts if (one[1] in INFRASTRUCTURE) == infrastructure]
            await asyncio.gather(*(asyncio.to_thread(action.heal, stack, process) for action, process in parts))


def _kill(stack: Stack, process: str) -> None:
    stack.supervisor.kill(process, signal.SIGKILL)


def _restart(stack: Stack, process: str) -> None:
    stack.supervisor.restart(process)
    if process == "postgres":
        stack.infra.postgres.wait_ready()
    elif process in INFRASTRUCTURE:
        stack.infra.wait_ready()
    else:
        _until_back(stack, process)


def _until_back(stack: Stack, process: str) -> None:
    """Who ends by himself while he comes back is started anew, as an orchestrator does; within the time that he has."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        try:
            stack.wait_role(process, timeout=deadline - time.monotonic())
            return
        except ProcessDied:
            if time.monotonic() > deadline:
                raise
            DIED_COMING_BACK[process] += 1
            stack.supervisor.restart(process)


def _pause(stack: Stack, process: str) -> None:
    stack.supervisor.kill(process, signal.SIGSTOP)


def _go_on(stack: Stack, process: str) -> None:
    stack.supervisor.kill(process, signal.SIGCONT)


def _leave(stack: Stack, process: str) -> None:
    stack.supervisor.stop(process)


def _join(stack: Stack, process: str) -> None:
    assert process == third_stream().name
    if process in stack.supervisor.names():
        stack.supervisor.restart(process)
    else:
        stack.start_role(third_stream())
    _until_back(stack, process)


def _skewed(hours: float) -> Action:
    """The process's clock as its Python code sees it (tests/faults/skewed_clock); the kernel's elapsed time goes on."""

    def start(stack: Stack, process: str) -> None:
        role = next(role for role in stack.roles if role.name == process)
        environment = stack.environment_of(role)
        path = os.pathsep.join([str(_SKEWED_CLOCK), *filter(None, [environment.get("PYTHONPATH")])])
        stack.supervisor.stop(process)
        stack.start_role(role, {"PYTHONPATH": path, "CLOCK_SKEW_S": str(hours * 3600)})
        stack.wait_role(process, timeout=_READY_WITHIN_S)

    def back(stack: Stack, process: str) -> None:
        stack.supervisor.stop(process)
        stack.start_role(next(role for role in stack.roles if role.name == process))
        _until_back(stack, process)

    return Action(f"clock {hours:+g} h", start, back, holds_s=5.0)


KILL = Action("kill -9", _kill, _restart, holds_s=1.5)
PAUSE = Action("SIGSTOP", _pause, _go_on, holds_s=LONG_PAUSE_S)
LEAVE = Action("SIGTERM", _leave, _restart, holds_s=2.0)
JOIN = Action("one more", _join, _leave, holds_s=4.0)

TARGETS = (
    "auth-server", "otp-server", "lockout-server", "notifier-server", "lockout-stream", "auth-relay", "otp-relay",
    "lockout-relay", "notifier-relay", "notifier-worker", "auth-worker", "kafka", "postgres",
)  # fmt: skip
# Alike to others that are; left out for time. All relays are one code, of which auth's is paused.
_NOT_PAUSED = {"otp-server", "notifier-server", "otp-relay", "lockout-relay", "notifier-relay", "auth-worker"}

# Hours and days fast and slow; two of a kind apart from each other.
_CLOCKS = {
    "auth-server": 2, "auth-server-2": -2, "otp-server": 30, "lockout-server": -30, "lockout-server-2": 3, "lockout-stream": 2,
    "lockout-stream-2": -2, "auth-relay": 3, "auth-relay-2": 24, "otp-relay": -3, "lockout-relay": -48, "notifier-server": 30,
    "notifier-relay": -24, "notifier-worker": 2, "notifier-worker-2": -2, "auth-worker": 5,
}  # fmt: skip

FAULTS: tuple[Fault, ...] = (
    *(Fault(f"{target}: kill -9", ((KILL, target),)) for target in TARGETS),
    *(Fault(f"{target}: SIGSTOP", ((PAUSE, target),)) for target in TARGETS if target not in _NOT_PAUSED),
    # What is not ours. The SMSC hangs and is not killed: what is on its way through it (receipts, texts to us, parts of a long
    # text) lives in its memory alone, where a real one keeps it on disk, and a message without its receipt never ends.
    # Mail is on disk before it is acknowledged.
    Fault("smsc: SIGSTOP", ((PAUSE, "smsc"),)),
    Fault("mail: kill -9", ((KILL, "mail"),)),
    # Two at a time: both of a kind, and what leans on one another.
    Fault("both auth servers: kill -9", ((KILL, "auth-server"), (KILL, "auth-server-2"))),
    Fault("both lockout servers: SIGSTOP", ((PAUSE, "lockout-server"), (PAUSE, "lockout-server-2"))),
    Fault("both streams: kill -9", ((KILL, "lockout-stream"), (KILL, "lockout-stream-2"))),
    Fault("both notifiers: kill -9", ((KILL, "notifier-worker"), (KILL, "notifier-worker-2"))),
    Fault("auth-server: SIGSTOP, lockout-stream: kill -9", ((PAUSE, "auth-server-2"), (KILL, "lockout-stream-2"))),
    Fault("kafka: kill -9, auth-server: SIGSTOP", ((KILL, "kafka"), (PAUSE, "auth-server"))),
    Fault("postgres: kill -9, auth-relay: kill -9", ((KILL, "postgres"), (KILL, "auth-relay-2"))),
    Fault("postgres and kafka: kill -9", ((KILL, "postgres"), (KILL, "kafka"))),
    Fault("a stream worker leaves and comes back", ((LEAVE, "lockout-stream"),)),
    Fault("a stream worker joins and leaves", ((JOIN, third_stream().name),)),
    Fault("clocks apart", tuple((_skewed(hours), process) for process, hours in _CLOCKS.items()), harmless=True),
)
