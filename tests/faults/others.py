"""Other checkers of the same run: the model of the protocol, and the fold of each service's own events."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from devstack.paths import REPO
from devstack.stack import Stack
from models import stores
from models.traces import BadTrace, Line, Traced, by_subject, evaluated_twice, read
from models.validate import validate

# A kill leaves steps of which nobody knows whether they were taken, and TLC tries every order of them: 27 at one subject take
# it a minute. Subjects with more than these are compared with the stores alone, and counted.
_MOST_IN_DOUBT = 10
_MOST_STEPS = 120


def trace_folder(stack_folder: Path) -> Path:
    """Where auth and lockout write each step of the protocol."""
    return stack_folder / "protocol"


async def all_of_them(stack: Stack) -> tuple[list[str], dict[str, int]]:
    """What they find, and how much the model's checker has looked at. To be called when nothing moves any more."""
    databases = stack.at.databases
    folded = await asyncio.gather(*(asyncio.to_thread(_rebuild, stack, service) for service in databases))
    found = [text for text in folded if text]
    try:
        traced = await asyncio.to_thread(read, trace_folder(stack.state_dir))
        disagreements, stored = await stores.compare(traced, databases["auth"], databases["lockout"])
        with tempfile.TemporaryDirectory() as folder:
            left_out, all_subjects = _copy_what_can_be_checked(trace_folder(stack.state_dir), traced, Path(folder))
            report = await validate(Path(folder))
    except BadTrace as error:
        return [*found, f"the model: {error}"], {}
    # Of all subjects, those too that the model's checker did not see; of the others it has said so already.
    said = dict.fromkeys((*report.violations, *evaluated_twice(traced), *disagreements))
    found += [f"the model: {one}" for one in said]
    if sum(left_out.values()) > all_subjects / 2:
        found.append(f"the model: of {all_subjects} subjects {left_out} were left to the stores' comparison, more than half")
    return found, {**report.counts, **stored, **left_out}


def _copy_what_can_be_checked(source: Path, traced: Traced, target: Path) -> tuple[dict[str, int], int]:
    """The same files without the lines of the subjects that are left out. Returns how many of those there are, and why; and of
    how many.
    """
    subjects = by_subject(traced)
    in_doubt = {one.subject for one in subjects if len(one.silent) > _MOST_IN_DOUBT}
    too_long = {one.subject for one in subjects if one.size > _MOST_STEPS} - in_doubt
    left_out = in_doubt | too_long
    owner = {line["attempt"]: line["subject"] for line in traced.lines if "attempt" in line and "subject" in line}

    def whose(line: Line) -> Iterator[str]:
        if "subject" in line:
            yield line["subject"]
        elif line["step"] == "append":
            yield from (owner.get(event["attempt"], line["stream"]) for event in line["events"])

    kept = {id(line) for line in traced.lines if not left_out.intersection(whose(line))}
    lines = iter(traced.lines)
    for path in sorted(source.glob("*.jsonl")):
        texts = path.read_bytes().split(b"\n")[:-1]
        (target / path.name).write_bytes(b"".join(text + b"\n" for text in texts if id(next(lines)) in kept))
    counts = {"subjects_with_too_much_in_doubt": len(in_doubt), "subjects_with_too_many_steps": len(too_long)}
    return counts, len(subjects)


def _rebuild(stack: Stack, service: str) -> str:
    """Empty if the service's tables are what its events give, bit for bit (mission row B5)."""
    role = next(role for role in stack.roles if role.service == service)
    argv = [sys.executable, "-m", f"services.{service}", "rebuild"]
    done = subprocess.run(argv, env=stack.environment_of(role), cwd=REPO, capture_output=True, text=True, check=False)
    return f"{service} rebuild: {(done.stdout + done.stderr)[-600:]}" if done.returncode else ""
