"""One operating-system process: started with a log of its own, signalled, awaited."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

from devstack import guard
from devstack.paths import REPO
from devstack.waiting import until

# Linux sends the death signal when the *thread* that forked ends, not its process. All forks are made by one thread
# that lives as long as the interpreter, so that a caller's own thread pool doesn't take its children along.
_forks = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devstack-fork")

GRACE_SECONDS = 15.0


def guarded(argv: Sequence[str], *, user: str | None = None, parent: int = 0) -> list[str]:
    """The same command, run as `user` and tied to the life of `parent` (0: tied to nothing)."""
    return [sys.executable, "-I", "-S", guard.__file__, str(parent), user or "-", *argv]


class Child:
    """A running process. It dies with this one unless it is `detached`."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        cwd: Path | None = None,
        detached: bool = False,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.log = log
        self.stop_signal = stop_signal
        log.parent.mkdir(parents=True, exist_ok=True)
        command = guarded(argv, user=user, parent=0 if detached else os.getpid())

        def fork() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else dict(env),
                    # Code of this checkout, whatever is installed; but another user may not enter it.
                    cwd=cwd or ("/" if user else REPO),
                    start_new_session=True,  # Ctrl-C at the terminal is for us; we stop them in order
                )

        self._process = _forks.submit(fork).result()
        self.pid = self._process.pid
        self.started_at = psutil.Process(self.pid).create_time()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def send(self, number: int) -> None:
        """Sends a signal. SIGKILL is awaited, along with the process's own children; they stop and go on with it, too.

        PostgreSQL works in its backends. They outlive their postmaster for some milliseconds, and while one is left no
        new server starts on that data folder.
        """
        if number in (signal.SIGSTOP, signal.SIGCONT):
            # The parent first: once it stands still there are no new ones.
            self._process.send_signal(number)
            for process in self._descendants():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            return
        if number != signal.SIGKILL:
            self._process.send_signal(number)
            return
        family = self._descendants()
        self._process.kill()
        self._process.wait(timeout=GRACE_SECONDS)
        until("the process's own children", lambda: not any(map(runs, family)), timeout=GRACE_SECONDS, interval=0.005)

    def ask_to_stop(self) -> None:
        if self.is_alive:
            self._process.send_signal(self.stop_signal)
            # One that a test has stopped could not hear it otherwise.
            self.send(signal.SIGCONT)

    def stop(self, grace: float = GRACE_SECONDS) -> int:
        """Asks, waits up to `grace` seconds, then kills; returns the exit status."""
        self.ask_to_stop()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout=grace)
        self.send(signal.SIGKILL)
        return self._process.wait()

    def wait(self, timeout: float) -> int:
        return self._process.wait(timeout=timeout)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def log_tail(self, lines: int = 30) -> str:
        return tail(self.log, lines)


def runs(process: psutil.Process) -> bool:
    """Whether it still runs. A zombie does not: in a container nobody may ever collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(path: Path, lines: int = 30) -> str:
    """The last lines of a log; at most the last 64 KiB of it are read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
