"""Parts of a text that an edit has to keep byte for byte, and whether a new text keeps them.

A new text keeps its pins when it is free text, the first pin, free text, the second pin and so on: they are all there,
in order and apart. A pinned word is only kept as a whole word, pinned lines only as whole lines. Pure text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model_runtime.errors import RequestError

_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Pin:
    """[start, end) of the old text, and what has to be around it for it to be the same thing."""

    start: int
    end: int
    text: str
    is_whole_line: bool
    begins_word: bool
    ends_word: bool

    def find(self, text: str, start: int) -> int:
        """Where `text` has it from `start` on, else -1."""
        found = text.find(self.text, start)
        while found >= 0 and not self._is_apart(text, found, found + len(self.text)):
            found = text.find(self.text, found + 1)
        return found

    def _is_apart(self, text: str, start: int, end: int) -> bool:
        before, behind = text[start - 1 : start] if start else "", text[end : end + 1]
        if self.is_whole_line and (before not in ("", "\n", "\r") or behind not in ("", "\n", "\r")):
            return False
        if self.begins_word and before and _WORD.match(before):
            return False
        return not (self.ends_word and behind and _WORD.match(behind))


def pins_of(text: str, spans: Iterable[tuple[int, int]]) -> tuple[Pin, ...]:
    """The pins at those spans, in order; empty spans are dropped, spans that overlap are joined.

    RequestError for a span outside the text.
    """
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if not 0 <= start <= end <= len(text):
            raise RequestError(f"pinned range {start}:{end} is outside the text of {len(text)} characters")
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif start < end:
            joined.append((start, end))
    pins = (_pin(text, start, end) for start, end in joined)
    return tuple(pin for pin in pins if pin.text)


def num_kept(pins: Sequence[Pin], text: str) -> int:
    """How many of the pins, from the first on, `text` has in order. Taking the earliest place of each loses nothing."""
    place = 0
    for idx, pin in enumerate(pins):
        found = pin.find(text, place)
        if found < 0:
            return idx
        place = found + len(pin.text)
    return len(pins)


def _pin(text: str, start: int, end: int) -> Pin:
    before, behind = text[start - 1 : start] if start else "", text[end : end + 1]
    is_whole_line = before in ("", "\n", "\r") and (behind in ("", "\n", "\r") or text[end - 1] in "\n\r")
    if is_whole_line:
        # Where a line ends is the edit's business; that it ends here is the pin's.
        end -= len(text[start:end]) - len(text[start:end].rstrip("\r\n"))
    kept = text[start:end]
    return Pin(
        start,
        end,
        kept,
        is_whole_line,
        begins_word=bool(kept and _WORD.match(kept[0]) and not (before and _WORD.match(before))),
        ends_word=bool(kept and _WORD.match(kept[-1]) and not (behind and _WORD.match(behind))),
    )
