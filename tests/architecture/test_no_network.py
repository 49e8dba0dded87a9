"""The default test run needs no network: the guard that every test runs under does guard."""

from __future__ import annotations

import socket

import pytest

from tests.support.no_network import NetworkUsed, is_this_machine

ELSEWHERE = "192.0.2.1"  # reserved for documentation: nobody is there


def test_another_machine_cannot_be_reached() -> None:
    with socket.socket() as one, pytest.raises(NetworkUsed, match=ELSEWHERE):
        one.connect((ELSEWHERE, 80))
    with pytest.raises(NetworkUsed, match="somewhere"):
        socket.create_connection(("somewhere.example", 80))


def test_this_machine_can() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()[:2]) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("::1", 1, 0, 0), ("localhost", 1), "/tmp/a.sock"])
def test_what_counts_as_this_machine(address: object) -> None:
    assert is_this_machine(address)
    assert not is_this_machine((ELSEWHERE, 1))
