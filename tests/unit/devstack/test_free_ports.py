"""Ports for what is started here: they must still be free when it listens."""

import socket
from pathlib import Path

from devstack.waiting import free_port


def test_no_outgoing_connection_of_this_machine_is_given_such_a_port() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(free_port() for _ in range(200)) < lowest


def test_none_is_given_twice_and_none_that_is_in_use() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        assert free_port() != ports[0]
