"""Whole messages from a stream of bytes, read on one thread of its own.

Owns the framing (`Content-Length` headers). It does not know what a message says. pygls' reader is not used: it changes
threads for the header, the empty line and the body, which is six times for a keystroke with its request.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

Receive = Callable[[int], bytes]
"""At most so many bytes, as soon as there are some; b"" at the end. `os.read` on a descriptor or `socket.recv`, not a
buffered stream: Python waits for such a stream's lock when it ends, and a thread that waits for a byte holds it."""

_CHUNK = 65_536
_MAX_DIGITS = 12
_READ_AHEAD = 64
"""Messages that may wait to be handled; then the client has to."""


class MessageReader:
    """The messages of one client, in order. `next_message` belongs to the event loop it was made on."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(_READ_AHEAD)
        # A daemon: it waits for the client's next byte when the server has decided to end.
        threading.Thread(target=self._run, name="seedls-reader", daemon=True).start()

    async def next_message(self) -> bytes | None:
        """The body of the next message; None when the client is gone."""
        body = await self._arrived.get()
        self._room.release()
        return body

    def _run(self) -> None:
        try:
            for body in split_messages(self._receive):
                self._hand_over(body)
            self._hand_over(None)
        except RuntimeError:
            return  # the loop was closed meanwhile: nobody wants the rest

    def _hand_over(self, body: bytes | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, body)


def split_messages(receive: Receive) -> Iterator[bytes]:
    """The bodies of all messages; header blocks without a length are skipped, a cut-off message ends the stream."""
    pending = bytearray()
    while (head := _take_head(pending, receive)) is not None:
        length = _content_length(head)
        if not length:
            continue
        if not _fill(pending, length, receive):
            return
        yield bytes(pending[:length])
        del pending[:length]


def _take_head(pending: bytearray, receive: Receive) -> bytes | None:
    """Everything up to the empty line, which is taken too; None at the end of the stream."""
    searched = 0
    while (end := pending.find(b"\r\n\r\n", searched)) < 0:
        searched = max(0, len(pending) - 3)
        if not _fill(pending, len(pending) + 1, receive):
            return None
    head = bytes(pending[:end])
    del pending[: end + 4]
    return head


def _fill(pending: bytearray, size: int, receive: Receive) -> bool:
    """Receive until there are `size` bytes; False when the stream ended before."""
    while len(pending) < size:
        try:
            piece = receive(_CHUNK)
        except OSError:
            return False  # a connection that was reset is a client that is gone
        if not piece:
            return False
        pending += piece
    return True


def _content_length(head: bytes) -> int:
    """The length a header block states; 0 when it states none that can be read."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        digits = value.strip()
        if name.strip().lower() == b"content-length" and digits.isdigit() and len(digits) <= _MAX_DIGITS:
            return int(digits)
    return 0
