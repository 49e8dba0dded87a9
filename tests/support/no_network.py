"""Every test runs without a network: a connection to anything but this machine fails at once, by name."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from typing import Any

import pytest


class NetworkUsed(AssertionError):
    """A test tried to reach another machine."""


def is_this_machine(address: object) -> bool:
    """True for socket paths, loopback addresses and the name `localhost`."""
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = address[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def refuse_network() -> Iterator[None]:
    """Guards this process; the tests that start others set their environment offline."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, original: Any = original) -> Any:
            if not is_this_machine(address):
                raise NetworkUsed(f"a test tried to connect to {address}")
            return original(self, address)

        patch.setattr(socket.socket, name, guarded)
    resolve = socket.getaddrinfo

    def guarded_resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        if host is not None and not is_this_machine((host,)):
            raise NetworkUsed(f"a test tried to look up {host!r}")
        return resolve(host, *arguments, **options)

    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    patch.undo()
