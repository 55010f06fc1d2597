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
# A process takes them by the block. Nothing here speaks UDP: who has bound the first number's UDP port has the block, and the
# system sees to it that it is one process, and that none has it who has ended.
_BLOCK = 100
_left: list[int] = []


def free_port() -> int:
    """A port of loopback that nobody listens on, and that no other process is given while this one lives; never the same twice.

    Raises `NotReady` when other processes have all of them.
    """
    while True:
        if not _left:
            _left.extend(_take_block())
        port = _left.pop()
        if _can_be_bound(port):
            return port


def _take_block() -> range:
    blocks = _PORTS[::_BLOCK]
    for first in random.sample(blocks, len(blocks)):
        holder = socket.socket(type=socket.SOCK_DGRAM)
        try:
            holder.bind(("127.0.0.1", first))
        except OSError as error:
            holder.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            holder.detach()  # open for as long as the process lives
            return range(first, first + _BLOCK)
    raise NotReady(f"no block of ports between {_PORTS[0]} and {_PORTS[-1]} is left")


def _can_be_bound(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True
