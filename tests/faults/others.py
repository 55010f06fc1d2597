"""Other checkers of the same run: the model of the protocol, and the fold of each service's own events."""

import asyncio
import subprocess
import sys
from pathlib import Path

from devstack.paths import REPO
from devstack.stack import Stack
from models.traces import BadTrace
from models.validate import validate


def trace_folder(stack_folder: Path) -> Path:
    """Where auth and lockout write each step of the protocol."""
    return stack_folder / "protocol"


async def all_of_them(stack: Stack) -> tuple[list[str], dict[str, int]]:
    """What they find, and how much the model's checker has looked at. To be called when nothing moves any more."""
    databases = {service: stack.at.databases[service] for service in ("auth", "lockout")}
    try:
        report = await validate(trace_folder(stack.state_dir), databases)
        found, counts = [f"the model: {one}" for one in report.violations], report.counts
    except BadTrace as error:
        found, counts = [f"the model: {error}"], {}
    folded = await asyncio.gather(*(asyncio.to_thread(_rebuild, stack, service) for service in stack.at.databases))
    return found + [text for text in folded if text], counts


def _rebuild(stack: Stack, service: str) -> str:
    """Empty if the service's tables are what its events give, bit for bit (mission row B5)."""
    role = next(role for role in stack.roles if role.service == service)
    argv = [sys.executable, "-m", f"services.{service}", "rebuild"]
    done = subprocess.run(argv, env=stack.environment_of(role), cwd=REPO, capture_output=True, text=True, check=False)
    return f"{service} rebuild: {(done.stdout + done.stderr)[-600:]}" if done.returncode else ""
