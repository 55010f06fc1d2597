"""`make demo`: the story on a stack of its own, as a timeline, and its figures in build/demo.json."""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from devstack.event_log import EventLog
from devstack.handsets import Handsets
from devstack.paths import BUILD
from devstack.stack import Stack
from devstack.state import write_json
from devstack.story import Step, Story, StoryWentWrong
from devstack.subscriber import BackEnd, Subscriber, new_client, new_phone

_MEANINGS = {
    "strikes_to_block": "wrong passwords until the block",
    "wrong_password_to_strike_ms": "wrong password → StrikeRecorded in Kafka (median of three), ms",
    "third_strike_to_blocked_event_ms": "third wrong password → AccountBlocked in Kafka, ms",
    "forgot_password_to_sms_ms": "“forgot password” → SMS on the handset, ms",
    "signed_in_again": "signed in again",
}

console = Console()


def run() -> None:
    """Exits with 1, and says why, if the story goes otherwise than it should."""
    began = time.monotonic()
    console.print(Panel("[bold]Zasov[/bold]: three wrong passwords, a block, and back in by SMS", expand=False))
    with tempfile.TemporaryDirectory(prefix="zasov-demo-") as folder, Stack(Path(folder), progress=_say) as stack:
        try:
            figures = asyncio.run(_play(stack.describe()))
        except StoryWentWrong as error:
            console.print(f"The story went wrong: {error}", style="bold red", markup=False)
            kept = shutil.copytree(Path(folder) / "logs", BUILD / "demo-logs", dirs_exist_ok=True)
            console.print(f"The logs of all processes are in {kept}", highlight=False)
            sys.exit(1)
        _say("Stopping everything")
    write_json(BUILD / "demo.json", figures)
    console.print(_table(figures))
    console.print(f"The same in {BUILD / 'demo.json'}; {time.monotonic() - began:.0f} s in all.", style="dim", highlight=False)


async def _play(addresses: dict[str, Any]) -> dict[str, Any]:
    channel = grpc.aio.insecure_channel(addresses["grpc"]["auth"])
    async with channel, EventLog(addresses["kafka"]["bootstrap"]) as log:
        person = Subscriber(BackEnd(channel), Handsets(addresses["smsc"]["handsets"]), new_phone(), new_client("en"))
        console.print(f"\nA subscriber with the number {person.phone}\n", highlight=False)
        return await Story(person, log, _show).play()


def _show(step: Step) -> None:
    refused = "refused" in step.outcome
    line = Text.assemble(
        ("✗ " if refused else "✓ ", "red" if refused else "green"),
        (f"{step.title:<36}", "bold"),
        (f"{step.answered_ms:6.0f} ms  ", "cyan"),
        step.outcome,
    )
    console.print(line, soft_wrap=True)
    if step.message:
        console.print(Text(f"    ✉  {step.message}", style="yellow"), soft_wrap=True)
    if step.events:
        events = "   ".join(f"{kind} +{after:.0f} ms" for kind, after in step.events.items())
        console.print(Text(f"    ⟶  {events}", style="dim"))


def _table(figures: dict[str, Any]) -> Table:
    table = Table("what was measured", "", title="\nThe demo in figures", title_justify="left")
    for name, meaning in _MEANINGS.items():
        value = figures[name]
        table.add_row(meaning, "yes" if value is True else str(value))
    events = ", ".join(f"{kind} {count}" for kind, count in figures["events"].items())
    table.add_row("events in Kafka", events)
    return table


def _say(text: str) -> None:
    console.print(f"· {text}", style="dim", highlight=False)
