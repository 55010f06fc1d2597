"""An operator's commands: what they print, and with which status they end. What they do is in `rebuild` and `republish`."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from rich.console import Console
from rich.table import Table

from services.chassis.rebuild import Report
from services.chassis.republish import Progress, follow, request
from services.chassis.settings import ChassisSettings

NAMES = ("migrate", "settings", "rebuild", "republish")
S_contra = TypeVar("S_contra", contravariant=True)


class Rebuild(Protocol[S_contra]):
    """A service's own `rebuild`."""

    def __call__(self, settings: S_contra, *, replace: bool = False) -> Awaitable[Report]: ...


async def rebuild(work: Awaitable[Report]) -> None:
    """Prints the report. Exits with 1 if anything differs and was not put right."""
    report = await work
    console = Console(soft_wrap=True)
    table = Table(title=f"{report.service}: {report.streams} streams, {report.events} events", title_justify="left")
    for name in ("table", "rows", "equal", "differing", "streams"):
        table.add_column(name, justify="left" if name in ("table", "streams") else "right")
    for one in report.tables:
        more = " …" if one.differing > len(one.streams) > 0 else ""
        table.add_row(one.table, str(one.rows), str(one.equal), str(one.differing), "\n".join(one.streams) + more)
    console.print(table)
    console.print("Not rebuilt:")
    for name, reason in report.not_rebuilt.items():
        console.print(f"  {name}: {reason}", markup=False, highlight=False)
    if report.is_equal:
        console.print("Every row is what its events say.")
    elif report.replaced:
        console.print("What differed was put right.")
    else:
        if not report.history_is_sound:
            console.print("Events that can't be read or folded: nothing is replaced by such a history.")
        sys.exit(1)


async def republish(settings: ChassisSettings, since: datetime | UUID | None, *, wait: bool) -> None:
    """Asks, and prints how far the relay has come until it is done."""
    request_id = await request(settings, since)
    console = Console(soft_wrap=True)
    console.print(f"Request {request_id}: the relay publishes the history again; it needs no one to wait for it.")
    if wait:
        done = await follow(settings, request_id, lambda progress: console.print(_line(progress), highlight=False))
        console.print(f"Done: {done.published} events.")


def _line(progress: Progress) -> str:
    """Stream ids are random: the place of one among all is the share of them that lies behind."""
    share = 1.0 if progress.finished else progress.at_stream.int / 2**128
    return f"  {progress.published} events, {share:.0%} of the streams"


def time_or_stream(text: str) -> datetime | UUID:
    """What `--from` takes."""
    try:
        return UUID(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("neither a time (ISO 8601) nor a stream's id (UUID)") from None
    if time.tzinfo is None:
        raise ArgumentTypeError("a time needs its zone, Z for example")
    return time
