"""Texts that break naive line and position arithmetic, shared by the property tests."""

from __future__ import annotations

from hypothesis import strategies as st

PIECES = (
    "a",
    "bc ",
    "\t",
    "é",
    "漢",
    "😀",
    "👩‍🚀",
    "\n",
    "\r\n",
    "\r",
    "\f",
    "\u2028",
    "\x85",
    "\x0b",
    "x = 1\n",
    "(",
    "",
)
ENCODINGS = ("utf-8", "utf-16", "utf-32")

texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
encodings = st.sampled_from(ENCODINGS)


def naive_lines(text: str) -> list[str]:
    """Lines as the protocol counts them, character by character; terminators kept."""
    lines, line, idx = [], "", 0
    while idx < len(text):
        step = 2 if text[idx : idx + 2] == "\r\n" else 1
        piece = text[idx : idx + step]
        line += piece
        idx += step
        if piece in ("\n", "\r", "\r\n"):
            lines.append(line)
            line = ""
    return [*lines, line]


def naive_width(character: str, encoding: str) -> int:
    """Code units of one character, by really encoding it."""
    unit = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[encoding]
    codec = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[encoding]
    return len(character.encode(codec)) // unit


def naive_offset(text: str, line: int, units: int, encoding: str) -> int:
    """Character offset of a position by walking; clamps as the protocol says."""
    lines = naive_lines(text)
    if line >= len(lines):
        return len(text)
    offset = sum(map(len, lines[:line]))
    content = lines[line].rstrip("\r\n") if lines[line].endswith(("\r", "\n")) else lines[line]
    used = 0
    for character in content:
        used += naive_width(character, encoding)
        if used > units:
            return offset
        offset += 1
    return offset
