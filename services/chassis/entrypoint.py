"""`python -m services.<service> <role>`: one process, one role."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from pydantic import ValidationError

from services.chassis import telemetry
from services.chassis.errors import CannotStart
from services.chassis.lifecycle import Lifecycle, status_port
from services.chassis.postgres import migrate, until_migrated
from services.chassis.settings import ChassisSettings, print_settings

S = TypeVar("S", bound=ChassisSettings)

_CHASSIS_MIGRATIONS = Path(__file__).parent / "migrations"


def main(
    service: str, settings_type: type[S], migrations: Path, roles: Mapping[str, Callable[[S, Lifecycle], Awaitable[None]]]
) -> None:
    """Exits with 0 after a drain, 1 after a failure, 2 for a wrong call."""
    names = [*roles, "migrate", "settings"]
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        sys.exit(_usage(service, names))
    role = sys.argv[1]
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
        sys.exit(1)


def _usage(service: str, names: list[str]) -> int:
    print(f"usage: python -m services.{service} {{{'|'.join(names)}}}", file=sys.stderr)
    return 2


async def _migrate(settings: ChassisSettings, migrations: Path) -> None:
    await migrate(settings, [_CHASSIS_MIGRATIONS, migrations])


async def _run(settings: S, migrations: Sequence[Path], role: Callable[[S, Lifecycle], Awaitable[None]]) -> None:
    life = Lifecycle()
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
