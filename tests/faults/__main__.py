"""`python -m tests.faults [--rounds N] [--only WORDS] [--seed N] [--keep FOLDER]`; exit status 1 on any violation."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from devstack.stack import Stack
from devstack.staff import StaffSystem
from devstack.supervisor import ProcessDied
from devstack.terminal import new_console
from devstack.waiting import NotReady
from tests.faults import others, report
from tests.faults.calls import OK, Client, now
from tests.faults.faults import DIED_COMING_BACK, FAULTS, INFRASTRUCTURE, Fault
from tests.faults.inboxes import inboxes_of
from tests.faults.invariants import violations
from tests.faults.load import Load
from tests.faults.reading import Reader
from tests.faults.report import Line
from tests.faults.stage import new_stack, open_channel, until_quiet

_WORKS_AGAIN_WITHIN_S = 120.0
_WARM = 12  # sign-ins that must have succeeded before a fault strikes, and again after it

console = new_console()


class Run:
    """One stack and one history, fault after fault."""

    def __init__(self, stack: Stack, client: Client, seed: int) -> None:
        self._stack = stack
        self._client = client
        self._load = Load(client, inboxes_of(stack), seed)
        self._reader = Reader(stack)
        self._known: set[str] = set()
        # Of the notifier's events: a fault of what carries messages that leaves none in doubt has met none.
        self.messages: Counter[str] = Counter()

    async def round(self, fault: Fault, line: Line) -> None:
        """Load, fault, load, quiet; then every invariant over the whole history so far."""
        began, first = time.monotonic(), len(self._client.calls)
        self._load.go()
        keeper = asyncio.create_task(self._keep_alive(fault, line))
        found: list[str] = []
        try:
            found += await self._until_signed_in("before the fault")
            self._load.press()
            await fault.strike(self._stack)
            self._load.press()
            await fault.hold()
            if fault.harmless:
                found += await self._until_signed_in("with the fault on")
                found += await self._until_quiet_and_sound()
                self._load.go()
            self._load.press()
            await fault.heal(self._stack)
            self._load.press()
            found += await self._until_signed_in("after the fault")
        except (NotReady, ProcessDied) as error:
            found.append(f"does not come back: {error}")
        line.restarted.update(DIED_COMING_BACK)
        DIED_COMING_BACK.clear()
        found += await self._until_quiet_and_sound()
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
        line.rounds += 1
        line.seconds += time.monotonic() - began
        line.count(self._client.calls[first:])
        line.violations += found

    async def _until_quiet_and_sound(self) -> list[str]:
        await self._load.pause()
        return [f"never quiet: {left}" for left in await until_quiet(self._stack)] + await self.check()

    async def check(self, said_by_others: Sequence[str] = ()) -> list[str]:
        """What is broken and was not before."""
        history = await self._reader.read(self._client.calls)
        history.extra += said_by_others
        self.messages = Counter(event.kind for event in history.of("notifier"))
        every = [f"{name}: {text}" for name, text in await asyncio.to_thread(violations, history)]
        fresh = [one for one in every if one not in self._known]
        self._known |= set(fresh)
        return fresh

    async def check_all(self) -> tuple[list[str], dict[str, int]]:
        """At the end: all topics read again from their first record, and what other checkers say of the whole run."""
        self._reader.forget_kafka()
        said, counts = await others.all_of_them(self._stack)
        return await self.check(said), counts

    async def _until_signed_in(self, when: str) -> list[str]:
        since = now()
        deadline = since + _WORKS_AGAIN_WITHIN_S
        while now() < deadline:
            recent = (call for call in reversed(self._client.calls) if call.started >= since)
            if sum(call.kind == "sign_in" and call.answer == OK for call in recent) >= _WARM:
                return []
            await asyncio.sleep(0.1)
        return [f"{when}, fewer than {_WARM} sign-ins succeed in {_WORKS_AGAIN_WITHIN_S:g} s"]

    async def _keep_alive(self, fault: Fault, line: Line) -> None:
        """Whoever ends by himself is started anew, as an orchestrator does."""
        supervisor = self._stack.supervisor
        while True:
            for role in self._stack.roles:
                if role.name not in fault.victims | INFRASTRUCTURE and not supervisor.is_alive(role.name):
                    line.restarted[role.name] += 1
                    await asyncio.to_thread(supervisor.restart, role.name)
            await asyncio.sleep(0.5)


async def run(stack: Stack, faults: list[Fault], rounds: int, seed: int) -> int:
    lines = [Line(fault.name) for fault in faults]
    async with open_channel(stack) as channel:
        client = Client(channel, StaffSystem(stack.at.keys))
        one = Run(stack, client, seed)
        for number in range(rounds):
            for fault, line in zip(faults, lines, strict=True):
                await one.round(fault, line)
                told = f"{len(line.violations)} violations" if line.violations else "holds"
                console.print(f"· {number + 1} {fault.name}: {told}, {line.seconds:.0f} s", style="dim", highlight=False)
                for text in line.violations[-5:]:
                    console.print(f"  {text}", style="red", highlight=False, markup=False, soft_wrap=True)
        at_the_end = Line("all of them, at the end")
        lines.append(at_the_end)
        at_the_end.violations, modelled = await one.check_all()
    answers = Counter(" ".join((call.kind, call.answer, *call.told)) for call in client.calls)
    facts = {"rounds": rounds, "seed": seed, "calls": len(client.calls), "answers": dict(sorted(answers.items()))}
    facts |= {"the notifier's events": dict(one.messages), "checked against the model": modelled}
    return report.write(console, lines, facts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="faults whose name has this in it; several: a|b")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keep", type=Path, help="leave the stack's folder (logs, traces) here")
    arguments = parser.parse_args()
    words = arguments.only.split("|")
    faults = [fault for fault in FAULTS if any(word in fault.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="zasov-faults-") as folder:
        console.print(f"· Starting the stack; seed {arguments.seed}", style="dim", highlight=False)
        with new_stack(arguments.keep or Path(folder)) as stack:
            found = asyncio.run(run(stack, faults, arguments.rounds, arguments.seed))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
