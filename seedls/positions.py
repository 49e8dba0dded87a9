"""The only conversion between LSP positions (line + code units) and character offsets (Python string indices).

Owns line splitting as the protocol defines it: `\\n`, `\\r\\n` and a lone `\\r` end a line, and nothing else does (form
feed, NEL and U+2028 are ordinary characters, unlike in `str.splitlines`). It does not know documents, versions or URIs.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate
from typing import Literal

from lsprotocol import types

Encoding = Literal["utf-8", "utf-16", "utf-32"]
"""What `Position.character` counts."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


def split_lines(text: str) -> list[str]:
    """Split as LSP counts lines, terminators kept; the last line has none, so there is always at least one line."""
    if "\r" not in text:
        lines = [line + "\n" for line in text.split("\n")]
        lines[-1] = lines[-1][:-1]
        return lines
    lines = _LINE.findall(text)
    # At the end of the text the pattern also matches the empty rest: wanted only after a terminator.
    if len(lines) > 1 and lines[-1] == "" and not lines[-2].endswith(("\r", "\n")):
        lines.pop()
    return lines


def line_ending_of(line: str) -> str:
    """The terminator of one line of `split_lines`: one of `\\r\\n`, `\\r`, `\\n` or the empty string."""
    if line.endswith("\r\n"):
        return "\r\n"
    return line[-1:] if line.endswith(("\n", "\r")) else ""


def units_to_characters(line: str, units: int, encoding: Encoding) -> int:
    """Characters of `line` that `units` code units cover; past the end clamps, inside a character rounds down."""
    if units <= 0:
        return 0
    if encoding == "utf-32" or line.isascii():
        return min(units, len(line))
    width = _utf16_width if encoding == "utf-16" else _utf8_width
    used = 0
    for idx, character in enumerate(line):
        used += width(character)
        if used > units:
            return idx
    return len(line)


def characters_to_units(line: str, characters: int, encoding: Encoding) -> int:
    """Code units of the first `characters` characters of `line`."""
    head = line[:characters]
    if encoding == "utf-32" or head.isascii():
        return len(head)
    width = _utf16_width if encoding == "utf-16" else _utf8_width
    return sum(map(width, head))


def _utf16_width(character: str) -> int:
    return 2 if character > "\uffff" else 1


def _utf8_width(character: str) -> int:
    if character < "\x80":
        return 1
    if character < "\u0800":
        return 2
    return 3 if character <= "\uffff" else 4


class LineText:
    """An immutable text held as lines, so that an edit copies pointers and not the whole text.

    `line_starts` is computed when first asked for: most keystrokes need it for one line only, which is counted from the
    line that was asked about last. An edit keeps that place, so that typing counts nothing.
    """

    __slots__ = ("_known_start", "_line_starts", "_text", "lines")

    def __init__(self, lines: tuple[str, ...], text: str | None = None, known_start: tuple[int, int] = (0, 0)) -> None:
        self.lines = lines
        self._text = text
        self._line_starts: list[int] | None = None
        self._known_start = known_start
        """(line index, character offset of its first character)."""

    @classmethod
    def from_text(cls, text: str) -> LineText:
        """Split `text` once."""
        return cls(tuple(split_lines(text)), text)

    @property
    def text(self) -> str:
        """The whole text."""
        if self._text is None:
            self._text = "".join(self.lines)
        return self._text

    @property
    def line_starts(self) -> list[int]:
        """Character offset of each line's first character, then the length of the text."""
        if self._line_starts is None:
            self._line_starts = list(accumulate(map(len, self.lines), initial=0))
        return self._line_starts

    def start_of(self, line_idx: int) -> int:
        """Character offset of one line's first character; does not compute those of all lines."""
        if self._line_starts is not None:
            return self._line_starts[line_idx]
        known, start = self._known_start
        if line_idx >= known:
            start += sum(map(len, self.lines[known:line_idx]))
        else:
            start -= sum(map(len, self.lines[line_idx:known]))
        self._known_start = (line_idx, start)
        return start

    def line_content(self, line_idx: int) -> str:
        """One line without its terminator."""
        line = self.lines[line_idx]
        return line[: len(line) - len(line_ending_of(line))]

    def line_of(self, offset: int) -> int:
        """Index of the line that holds `offset`; the end of the text belongs to the last line."""
        return min(bisect_right(self.line_starts, offset) - 1, len(self.lines) - 1)

    def locate(self, position: types.Position, encoding: Encoding) -> tuple[int, int]:
        """Line index and character column of `position`, clamped into the text (terminators are never entered)."""
        if position.line < 0:
            return 0, 0
        if position.line >= len(self.lines):
            last = len(self.lines) - 1
            return last, len(self.lines[last])
        content = self.line_content(position.line)
        return position.line, units_to_characters(content, position.character, encoding)

    def splice(self, start: tuple[int, int], end: tuple[int, int], new_text: str) -> LineText:
        """Replace from `start` to `end`, both (line index, character column)."""
        if end < start:
            start, end = end, start
        first, last = start[0], end[0]
        middle = self.lines[first][: start[1]] + new_text + self.lines[last][end[1] :]
        text = self._spliced_text(start, end, new_text)
        # A `\n` that now follows a line ended by a lone `\r` makes one terminator of the two.
        if first > 0 and middle.startswith("\n") and self.lines[first - 1].endswith("\r"):
            first -= 1
            middle = self.lines[first] + middle
        new_lines = split_lines(middle)
        if last + 1 < len(self.lines):
            new_lines.pop()  # `middle` ends with a terminator, so its last line is the empty start of the next one
        lines = self.lines[:first] + tuple(new_lines) + self.lines[last + 1 :]
        return LineText(lines, text, (first, self.start_of(first)))

    def _spliced_text(self, start: tuple[int, int], end: tuple[int, int], new_text: str) -> str | None:
        """The whole text after `splice`, without joining all lines; None when this text was never joined either."""
        if self._text is None:
            return None
        first, last = (self.start_of(line_idx) + column for line_idx, column in (start, end))
        return self._text[:first] + new_text + self._text[last:]


def to_offset(content: LineText, position: types.Position, encoding: Encoding) -> int:
    """Character offset of `position`, clamped into the text."""
    line_idx, column = content.locate(position, encoding)
    return content.start_of(line_idx) + column


def clamped(content: LineText, position: types.Position, encoding: Encoding) -> types.Position:
    """The place in the text that `position` means: `to_position(to_offset(...))` without counting through the text."""
    line_idx, column = content.locate(position, encoding)
    return types.Position(line_idx, characters_to_units(content.lines[line_idx], column, encoding))


def to_position(content: LineText, offset: int, encoding: Encoding) -> types.Position:
    """Position of a character offset, clamped into the text; between `\\r` and `\\n` counts as before both."""
    offset = max(0, min(offset, content.line_starts[-1]))
    line_idx = content.line_of(offset)
    column = min(offset - content.line_starts[line_idx], len(content.line_content(line_idx)))
    return types.Position(line_idx, characters_to_units(content.lines[line_idx], column, encoding))


def to_offsets(content: LineText, span: types.Range, encoding: Encoding) -> tuple[int, int]:
    """Character offsets of a range, in order even if the client sent it reversed."""
    start, end = to_offset(content, span.start, encoding), to_offset(content, span.end, encoding)
    return min(start, end), max(start, end)


def to_range(content: LineText, start: int, end: int, encoding: Encoding) -> types.Range:
    """Range of two character offsets."""
    return types.Range(to_position(content, start, encoding), to_position(content, end, encoding))
