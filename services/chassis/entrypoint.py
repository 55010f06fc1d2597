"""`python -m services.<service> <role>`: one process, one role. And an operator's commands, which end."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from pydantic import ValidationError

from services.chassis import commands, telemetry
from services.chassis.commands import Rebuild
from services.chassis.errors import CannotStart
from services.chassis.lifecycle import Lifecycle, status_port
from services.chassis.postgres import migrate, until_migrated
from services.chassis.replay import DeadLetterTopics
from services.chassis.settings import ChassisSettings, print_settings

S = TypeVar("S", bound=ChassisSettings)

_CHASSIS_MIGRATIONS = Path(__file__).parent / "migrations"


def main(
    service: str,
    settings_type: type[S],
    migrations: Path,
    roles: Mapping[str, Callable[[S, Lifecycle], Awaitable[None]]],
    rebuild: "Rebuild[S] | None" = None,
    dead_letters: DeadLetterTopics | None = None,
) -> None:
    """Exits with 0 after a drain or a command that found all well, 1 after a failure, 2 for a wrong call."""
    arguments = _parser(service, list(roles), with_dead_letters=dead_letters is not None).parse_args()
    role: str = arguments.role
    if role == "settings":
        print_settings(settings_type)
        return
    try:
        settings = settings_type()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            print(f"setting {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    telemetry.configure(service, role, settings.log_level, settings.traces_file, settings.trace_sample_ratio)
    if role == "migrate":
        _run_or_say_why(_migrate(settings, migrations))
        return
    if role == "rebuild" and rebuild is not None:
        _run_or_say_why(commands.rebuild(rebuild(settings, replace=arguments.replace)))
        return
    if role == "republish":
        _run_or_say_why(commands.republish(settings, arguments.since, wait=not arguments.no_wait))
        return
    if role == commands.DEAD_LETTERS and dead_letters is not None:
        _run_or_say_why(_dead_letters(settings, dead_letters, arguments))
        return
    _run_or_say_why(_run(settings, [_CHASSIS_MIGRATIONS, migrations], roles[role]))


def _run_or_say_why(work: Coroutine[Any, Any, None]) -> None:
    """Exits with 1 after an exception. Python's own farewell would print its text, which may quote a row."""
    try:
        uvloop.run(work)
    except CannotStart as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        telemetry.logger().error("died", error=telemetry.error_name(error), where=telemetry.raised_at(error))
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: it waits for threads, and Faust's has a consumer in it that goes on after its app has crashed. A
        # process that is dead and does not end is replaced by nobody.
        os._exit(1)


def _parser(service: str, roles: Sequence[str], *, with_dead_letters: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m services.{service}", allow_abbrev=False)
    names = [*roles, *commands.NAMES, *([commands.DEAD_LETTERS] if with_dead_letters else [])]
    words = parser.add_subparsers(dest="role", required=True, metavar="{" + "|".join(names) + "}")
    for role in roles:
        words.add_parser(role, help="a role, until it is told to stop")
    words.add_parser("migrate", help="applies the service's schema")
    words.add_parser("settings", help="lists the settings")
    rebuild = words.add_parser("rebuild", help="compares the state tables with what their events give")
    rebuild.add_argument("--replace", action="store_true", help="put right what differs (stop the service's roles first)")
    republish = words.add_parser("republish", help="has the relay fill Kafka again from the event store")
    republish.add_argument(
        "--from", dest="since", metavar="TIME|STREAM", type=commands.time_or_stream,
        help="only events since then (2026-11-01T00:00:00Z), or only streams from that id on",
    )  # fmt: skip
    republish.add_argument("--no-wait", action="store_true", help="ask the relay, and don't wait until it has done it")
    if with_dead_letters:
        letters = words.add_parser(commands.DEAD_LETTERS, help="records that could not be read")
        actions = letters.add_subparsers(dest="action", required=True, metavar="{list|show|replay}")
        actions.add_parser("list", help="where each lies, when and whence it came, and why")
        show = actions.add_parser("show", help="one, with all that it says")
        show.add_argument("place", metavar="PARTITION:OFFSET", type=commands.place)
        replay = actions.add_parser("replay", help="hands one to this service again, or all that were not handed out yet")
        replay.add_argument("place", metavar="PARTITION:OFFSET|all", type=commands.place_or_all)
    return parser


async def _dead_letters(settings: ChassisSettings, topics: DeadLetterTopics, arguments: argparse.Namespace) -> None:
    if arguments.action == "list":
        await commands.list_dead_letters(settings, topics)
    elif arguments.action == "show":
        await commands.show_dead_letter(settings, topics, arguments.place)
    else:
        await commands.replay_dead_letters(settings, topics, arguments.place)


async def _migrate(settings: ChassisSettings, migrations: Path) -> None:
    await migrate(settings, [_CHASSIS_MIGRATIONS, migrations])


async def _run(settings: S, migrations: Sequence[Path], role: Callable[[S, Lifecycle], Awaitable[None]]) -> None:
    life = Lifecycle(of_a_process=True)
    life.heed_signals()
    # What start-up has allocated stays; collecting it over and over costs a few per cent under load.
    gc.collect()
    gc.freeze()

    async def role_once_migrated() -> None:
        await until_migrated(settings, migrations)
        await role(settings, life)

    async with status_port(settings, life):
        work = asyncio.create_task(role_once_migrated())
        stop = asyncio.create_task(life.stopping())
        try:
            # A role that is still waiting for its database when it is told to stop has nothing to drain.
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not life.is_ready and not work.done() and not life.was_ready:
                work.cancel()
            await work
        except asyncio.CancelledError:
            pass
        finally:
            stop.cancel()
            await asyncio.gather(stop, return_exceptions=True)
            await life.cancel_background()
    telemetry.logger().info("stopped")
