"""An operator's commands: what they print, and with which status they end. What they do is in `rebuild` and `republish`."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Awaitable
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from rich.console import Console
from rich.table import Table

from services.chassis import replay
from services.chassis.errors import CannotStart
from services.chassis.rebuild import Report
from services.chassis.replay import DeadLetterTopics, Place
from services.chassis.republish import Progress, follow, request
from services.chassis.settings import ChassisSettings

NAMES = ("migrate", "settings", "rebuild", "republish")
DEAD_LETTERS = "dead-letters"  # of a service that has any
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


async def list_dead_letters(settings: ChassisSettings, topics: DeadLetterTopics) -> None:
    done = await replay.replayed(settings, topics)
    async for letter in replay.all_of(settings, topics.dead_letters):
        _say(f"{letter.place}  {letter.line()}{'  (replayed)' if str(letter.place) in done else ''}")


async def show_dead_letter(settings: ChassisSettings, topics: DeadLetterTopics, place: Place) -> None:
    letter = await replay.one_of(settings, topics.dead_letters, place)
    _say(f"{letter.place}  {letter.line()}\n{letter.page()}")


async def replay_dead_letters(settings: ChassisSettings, topics: DeadLetterTopics, place: Place | None) -> None:
    """None: all that were not handed out before. Exits with 1 if any could not be handed out."""
    if place is not None:
        letters = [await replay.one_of(settings, topics.dead_letters, place)]
    else:
        done = await replay.replayed(settings, topics)
        every = [letter async for letter in replay.all_of(settings, topics.dead_letters)]
        letters = [letter for letter in every if str(letter.place) not in done]
    left = await replay.replay(settings, topics, letters)
    _say(f"{len(letters) - len(left)} handed out again.")
    if left:
        places = ", ".join(str(letter.place) for letter in left)
        raise CannotStart(f"Nothing in this service handles records of the topics that these came from: {places}")


def place(text: str) -> Place:
    """Of a dead letter, as `list` names it."""
    partition, _, offset = text.partition(":")
    if not (text.isascii() and partition.isdigit() and offset.isdigit()):
        raise ArgumentTypeError("not a partition and an offset, 0:17 for example")
    return Place(int(partition), int(offset))


def place_or_all(text: str) -> Place | None:
    return None if text == "all" else place(text)


def _say(text: str) -> None:
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


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
