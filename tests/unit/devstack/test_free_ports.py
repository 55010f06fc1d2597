"""Ports for what is started here: they must still be free when it listens."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import waiting
from devstack.waiting import free_port

_DRAWS = 300
_DRAWING = f"""
import sys
from devstack.waiting import free_port
print(*(free_port() for _ in range({_DRAWS})), flush=True)
sys.stdin.read()
"""


def test_no_outgoing_connection_of_this_machine_is_given_such_a_port() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_port() for _ in range(200)) < lowest


def test_none_is_given_twice() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


def test_none_is_given_that_somebody_listens_on(monkeypatch: pytest.MonkeyPatch) -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", free_port())) as used:
        monkeypatch.setattr(waiting, "_left", [free, used.getsockname()[1]])
        assert free_port() == free


def test_processes_that_draw_at_once_are_given_none_in_common() -> None:
    """Two stacks that start beside one another listen on none of their ports yet."""
    argv = [sys.executable, "-c", _DRAWING]
    drawing = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        drawn = [port for one in drawing if one.stdout for port in one.stdout.readline().split()]
    finally:
        for one in drawing:
            one.communicate()
    assert len(drawn) == len(set(drawn)) == 4 * _DRAWS
