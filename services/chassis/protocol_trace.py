"""What a process has done in a protocol that is checked against a model (models/README.md). Off by default.

One JSON line a step, written after the step's commit, in one write to a file that no other process writes to: a kill takes
nothing that was written, and leaves out at most the steps that were under way. A step that failed without telling whether
it took effect leaves a line in doubt. A process that ended in order says so; of one that did not, lines may be missing.
No line holds a time: the clocks of two processes tell no order.
"""

import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

Said: TypeAlias = "str | int | bool | UUID | Sequence[Said] | dict[str, Said] | None"


class Line:
    """A line that is being written: what the step found out goes into it."""

    def __init__(self, **facts: Said) -> None:
        self._facts = facts
        self._wanted = True

    def say(self, **facts: Said) -> None:
        self._facts |= facts

    def drop(self) -> None:
        """Nothing happened that anybody would want to know."""
        self._wanted = False

    def __bytes__(self) -> bytes:
        return json.dumps(self._facts, default=str, separators=(",", ":")).encode() + b"\n" if self._wanted else b""


class _NoLine(Line):
    def say(self, **facts: Said) -> None:
        pass


class ProtocolTrace:
    """A process's trace. Made by `open_trace`; OFF writes nothing."""

    def __init__(self, file: int | None) -> None:
        self._file = file
        if file is not None:
            weakref.finalize(self, os.close, file)

    @property
    def on(self) -> bool:
        return self._file is not None

    def write(self, step: str, **facts: Said) -> None:
        """A step that is over, and cannot be in doubt."""
        if self._file is not None:
            self._write(Line(step=step, **facts))

    @contextmanager
    def step(self, step: str, **facts: Said) -> Iterator[Line]:
        """Writes the line when the block has ended; one that raises may have taken effect or not."""
        if self._file is None:
            yield _NO_LINE
            return
        line = Line(step=step, **facts)
        try:
            yield line
        except BaseException:
            line.say(doubt=True)
            self._write(line)
            raise
        self._write(line)

    def _write(self, line: Line) -> None:
        if self._file is not None and (content := bytes(line)):
            os.write(self._file, content)


_NO_LINE = _NoLine()
OFF = ProtocolTrace(None)


@contextmanager
def open_trace(folder: str, service: str, role: str) -> Iterator[ProtocolTrace]:
    """Appends to `folder/<service>-<role>-<pid>.jsonl`; OFF if no folder is named.

    What still runs in the background when the role ends may write after the line that says so.
    """
    if not folder:
        yield OFF
        return
    path = Path(folder) / f"{service}-{role}-{os.getpid()}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    trace = ProtocolTrace(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    trace.write("started", service=service, role=role)
    yield trace
    trace.write("stopped")
