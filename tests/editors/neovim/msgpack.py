"""The part of MessagePack that Neovim speaks: enough to drive it without another dependency.

Owns encoding and decoding of one value; extension values (Neovim's handles) come back as their number. Source: the
MessagePack specification, https://github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

import struct
from typing import Any

_FIXED = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_FIXED |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_FIX_EXTENSION = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


class Incomplete(Exception):
    """More bytes are needed."""


def pack(value: Any) -> bytes:
    """One value as bytes. TypeError naming what cannot be sent."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        raw = value.encode()
        return struct.pack(">BI", 0xDB, len(raw)) + raw
    if isinstance(value, (list, tuple)):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    if isinstance(value, dict):
        pairs = b"".join(pack(key) + pack(one) for key, one in value.items())
        return struct.pack(">BI", 0xDF, len(value)) + pairs
    raise TypeError(f"{value!r} cannot be sent")


class Unpacker:
    """Values out of a stream of bytes that arrives in pieces."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0

    def feed(self, piece: bytes) -> list[Any]:
        """Add bytes; the values that are complete now."""
        self._data = self._data[self._at :] + piece
        self._at = 0
        values = []
        while self._at < len(self._data):
            start = self._at
            try:
                values.append(self._value())
            except Incomplete:
                self._at = start
                break
        return values

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise Incomplete
        self._at += count
        return self._data[self._at - count : self._at]

    def _length(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _value(self) -> Any:
        head = self._take(1)[0]
        if head < 0x80:
            return head
        if head >= 0xE0:
            return head - 0x100
        if head in _CONSTANTS:
            return _CONSTANTS[head]
        if head in _FIXED:
            (number,) = struct.unpack(_FIXED[head], self._take(struct.calcsize(_FIXED[head])))
            return number
        return self._sized(head)

    def _sized(self, head: int) -> Any:
        if head < 0x90:
            return self._map(head & 0x0F)
        if head < 0xA0:
            return [self._value() for _ in range(head & 0x0F)]
        if head < 0xC0:
            return self._text(head & 0x1F)
        if head in (0xD9, 0xDA, 0xDB):
            return self._text(self._length(1 << (head - 0xD9)))
        if head in (0xC4, 0xC5, 0xC6):
            return self._take(self._length(1 << (head - 0xC4)))
        if head in (0xDC, 0xDD):
            return [self._value() for _ in range(self._length(2 << (head - 0xDC)))]
        if head in (0xDE, 0xDF):
            return self._map(self._length(2 << (head - 0xDE)))
        if head in _FIX_EXTENSION:
            return self._extension(_FIX_EXTENSION[head])
        if head in (0xC7, 0xC8, 0xC9):
            return self._extension(self._length(1 << (head - 0xC7)))
        raise ValueError(f"byte {head:#x} starts no value")

    def _text(self, length: int) -> str:
        return self._take(length).decode("utf-8", errors="replace")

    def _map(self, count: int) -> dict[Any, Any]:
        return {self._value(): self._value() for _ in range(count)}

    def _extension(self, length: int) -> Any:
        """A handle of Neovim: its payload is a packed number."""
        self._take(1)
        return Unpacker().feed(self._take(length))[0]
