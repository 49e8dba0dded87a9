"""Messages come out whole, however the bytes arrive and whatever stands between them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedls.message_reader import MessageReader, split_messages


def _arriving(pieces: list[bytes]) -> Callable[[int], bytes]:
    """A stream that gives one piece at a time, then ends."""
    waiting = iter(pieces)
    return lambda size: next(waiting, b"")


def _framed(body: bytes, name: bytes = b"Content-Length") -> bytes:
    return b"%s: %d\r\n\r\n%s" % (name, len(body), body)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 300), max_size=8))
def test_cut_anywhere(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(_framed, bodies))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[first:last] for first, last in pairwise(places) if last > first]
    assert list(split_messages(_arriving(pieces))) == bodies


@pytest.mark.parametrize(
    ("stream", "bodies"),
    [
        (b"", []),
        (b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}", [b"{}"]),
        (b"Content-Type: x\r\ncontent-LENGTH:2\r\n\r\n{}", [b"{}"]),
        (b"noise\r\n\r\n" + _framed(b"{}"), [b"{}"]),
        (b"Content-Length: many\r\n\r\n" + _framed(b"{}"), [b"{}"]),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + _framed(b"{}"), [b"{}"]),
        (b"Content-Length: 0\r\n\r\n" + _framed(b"{}"), [b"{}"]),
        (_framed(b"{}") + b"Content-Length: 50\r\n\r\n{", [b"{}"]),
        (_framed(b"{}") + b"Content-Le", [b"{}"]),
    ],
)
def test_odd_streams(stream: bytes, bodies: list[bytes]) -> None:
    assert list(split_messages(_arriving([stream]))) == bodies


def test_a_connection_that_was_reset_is_an_end() -> None:
    def receive(size: int) -> bytes:
        raise ConnectionResetError

    assert list(split_messages(receive)) == []


def test_messages_are_read_ahead_on_one_thread_and_no_further_than_agreed() -> None:
    threads: set[str] = set()
    given_out = 0

    def receive(size: int) -> bytes:
        nonlocal given_out
        threads.add(threading.current_thread().name)
        given_out += 1
        return _framed(b"%d" % given_out) if given_out <= 200 else b""

    async def read() -> list[bytes]:
        reader = MessageReader(receive)
        await asyncio.sleep(0.1)  # nobody takes any
        assert given_out < 80
        bodies = []
        while (body := await reader.next_message()) is not None:
            bodies.append(body)
        return bodies

    assert asyncio.run(read()) == [b"%d" % number for number in range(1, 201)]
    assert threads == {"seedls-reader"}


def test_a_loop_that_has_ended_ends_the_reading() -> None:
    release = threading.Event()

    def receive(size: int) -> bytes:
        assert release.wait(10)
        return _framed(b"{}")

    async def leave() -> None:
        MessageReader(receive)

    asyncio.run(leave())
    (thread,) = (one for one in threading.enumerate() if one.name == "seedls-reader")
    release.set()
    thread.join(10)
    assert not thread.is_alive()
