"""When an infill is finished, token by token, and what of it to keep.

Text only: the syntax around the cursor is the caller's knowledge and comes in as `StopRules`. Each committed token is
judged by itself and in order, so the text does not depend on how many were committed in one step.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from model_runtime.api import FinishReason, StopRules

# A line with fewer letters than this (`}`, `)`, `else:`…) may well stand twice; then the next line must agree too.
_TELLING_LETTERS = 6
_MAX_EQUAL_LINES = 4


@dataclass(frozen=True, slots=True)
class Finish:
    """The infill ends here: keep `length` characters."""

    length: int
    reason: FinishReason


class InfillStops:
    """Judges the growing text of one infill."""

    def __init__(self, prefix: str, suffix: str, rules: StopRules) -> None:
        self._rules = rules
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        cursor_line = prefix[prefix.rfind("\n") + 1 :]
        self._cursor_indent = _indent(cursor_line)
        rest, _, below = suffix.partition("\n")
        self._rest_of_line = rest.strip()
        is_line_start = not cursor_line.strip()
        # Lines are compared from their start, indentation included.
        self._line_prefix = cursor_line if is_line_start else ""
        # Whole lines may come above the one the cursor stands before: it is then the first line below.
        self._is_above_text = is_line_start and bool(self._rest_of_line)
        lines = [cursor_line + rest, *below.split("\n")] if self._is_above_text else below.split("\n")
        self._lines_below = [line.rstrip() for line in lines if line.strip()][:2]

    @property
    def text(self) -> str:
        """Everything fed so far, whole characters only."""
        return self._text

    def feed(self, token: bytes) -> Finish | None:
        """Add one committed token; a Finish when the infill is over."""
        start = len(self._text)
        self._text += self._decoder.decode(token)
        for end in self._line_ends(start):
            if (finish := self._judge_line(end)) is not None:
                return finish
        return self._judge_strings(start)

    def finish_at_end(self) -> int:
        """Characters to keep when the model itself ended: without what repeats the suffix."""
        return self._length_without_suffix(len(self._text))

    def _line_ends(self, start: int) -> list[int]:
        ends, found = [], self._text.find("\n", start)
        while found >= 0:
            ends.append(found)
            found = self._text.find("\n", found + 1)
        return ends

    def _judge_line(self, end: int) -> Finish | None:
        """The line that ends at `end` (a newline) is complete."""
        lines = (self._line_prefix + self._text[:end]).split("\n")
        line, line_start = lines[-1].rstrip(), self._text.rfind("\n", 0, end) + 1
        if self._rules.stop_at_suffix:
            if self._rest_of_line and not self._is_above_text:
                return Finish(self._length_without_suffix(end), "suffix")
            if self._repeats_suffix(lines):
                return Finish(self._end_before(line_start), "suffix")
            if self._ends_with_rest(self._text[:end]):
                return Finish(self._length_without_suffix(end), "suffix")
        if self._rules.stop_at_dedent and line and len(lines) > 1 and _indent(line) < self._cursor_indent:
            return Finish(_without_newline(self._text, line_start), "stop_rule")
        num_lines = sum(1 for each in lines if each.strip())
        if self._rules.max_lines is not None and num_lines >= self._rules.max_lines:
            return Finish(end, "stop_rule")
        if line and len(lines) >= _MAX_EQUAL_LINES and len(set(lines[-_MAX_EQUAL_LINES:])) == 1:
            first = _start_of_last_lines(self._text, end, _MAX_EQUAL_LINES - 1)
            return Finish(_without_newline(self._text, first), "stop_rule")
        return None

    def _judge_strings(self, start: int) -> Finish | None:
        for stop in self._rules.stop_strings:
            found = self._text.find(stop, max(0, start - len(stop)))
            if stop and found >= 0:
                return Finish(found, "stop_rule")
        return None

    def _repeats_suffix(self, lines: list[str]) -> bool:
        """The newest lines are those that follow the cursor's line."""
        if not self._lines_below:
            return False
        written = [line.rstrip() for line in lines if line.strip()]
        first = self._lines_below[0]
        if not written:
            return False
        if sum(map(str.isalnum, first)) >= _TELLING_LETTERS:
            return written[-1] == first
        return len(self._lines_below) == 2 and written[-2:] == self._lines_below

    def _length_without_suffix(self, length: int) -> int:
        """Drop an end of the text that the suffix's first line repeats."""
        if not self._rules.stop_at_suffix:
            return length
        text = self._text[:length]
        if self._ends_with_rest(text):
            kept = text.rstrip().removesuffix(self._rest_of_line)
            return len(kept) if kept.strip() else 0
        lines = (self._line_prefix + text).split("\n")
        if len(lines) > 1 and self._repeats_suffix(lines):
            return self._end_before(text.rstrip().rfind("\n") + 1)
        return length

    def _ends_with_rest(self, text: str) -> bool:
        """The first line, and there is no other, ends with what follows the cursor in its line."""
        rest = self._rest_of_line
        # At the start of a line, `)` may as well be the end of another line that comes above.
        is_telling = not self._is_above_text or sum(map(str.isalnum, rest)) >= _TELLING_LETTERS
        return bool(rest) and is_telling and "\n" not in text and text.rstrip().endswith(rest)

    def _end_before(self, line_start: int) -> int:
        """Where to cut when the line that begins there is the one below; above text, newline and indentation stay."""
        if not self._is_above_text:
            return _without_newline(self._text, line_start)
        has_prefix = line_start > 0 and self._text.startswith(self._line_prefix, line_start)
        return line_start + (len(self._line_prefix) if has_prefix else 0)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _without_newline(text: str, length: int) -> int:
    """The length without one newline at its end."""
    if length > 0 and text[length - 1] == "\n":
        length -= 1
    if length > 0 and text[length - 1] == "\r":
        length -= 1
    return length


def _start_of_last_lines(text: str, end: int, num_lines: int) -> int:
    for _ in range(num_lines):
        end = text.rfind("\n", 0, end)
    return end + 1
