"""Awaiting what another process does: nothing but asking again can tell."""

import errno
import random
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


# Below those that systems give to outgoing connections: one of these may begin before whoever asked for the port listens.
_PORTS = range(15_000, 32_000)
# Nobody's seed: two processes must not draw alike.
_DRAW = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody listens on; never the same one twice from one process."""
    while True:
        port = _DRAW.choice(_PORTS)
        if port not in _given and _can_be_bound(port):
            _given.add(port)
            return port


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
