"""Awaiting what another process does: nothing but asking again can tell."""

import socket
import time
from collections.abc import Callable


class NotReady(RuntimeError):
    """What was awaited did not come in time, or can no longer come."""


def until(what: str, condition: Callable[[], bool], *, timeout: float = 60.0, interval: float = 0.02) -> None:
    """Returns as soon as the condition holds; raises `NotReady` after `timeout` seconds.

    A condition that can no longer come true should raise, so that nobody waits for the deadline.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise NotReady(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody listens on; never the same one twice from one process."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port
