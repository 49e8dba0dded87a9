"""Where a hole in Python cannot end: the text behind it would not fit the blocks that stand open there.

A small model likes to end behind the first line of a block, before `else:` without an `if`, or inside a `try` that
nothing handles. Python's indentation says so without a parse of the whole file; such an end is refused, and the model
has to go on. Only what is certain counts: inside brackets and strings, and where the window hides the outer blocks,
every end is possible. Text only; the grammar is the Python reference's, "Compound statements" and "Indentation".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SUFFIX_CHARACTERS = 4000
_UNKNOWN = "\0"
_PIECE = re.compile(
    r"(?P<triple>\"\"\"|''')"
    r"|\"(?:\\.|[^\"\\\n])*(?:\"|$)|'(?:\\.|[^'\\\n])*(?:'|$)"
    r"|(?P<comment>#[^\n]*)|(?P<joined>\\\n)|(?P<open>[(\[{])|(?P<close>[)\]}])",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"\s*(?:async\s+)?(\w+)")
_HEADS = {"case", "class", "def", "elif", "else", "except", "finally", "for", "if", "match", "try", "while", "with"}
_COMES_BEHIND = {
    "elif": {"if", "elif"},
    "else": {"if", "elif", "for", "while", "except"},
    "except": {"try", "except"},
    "finally": {"try", "except", "else"},
}
"""Clause -> what the newest line of its own indentation begins with."""


class BlockEndings:
    """Judges where the middle between this prefix and suffix may end."""

    def __init__(self, prefix: str, suffix: str, *, keeps_indent: bool) -> None:
        """`keeps_indent`: lines indented less than the cursor's are never written, so nothing is asked of them."""
        self._prefix = prefix.replace("\r\n", "\n")
        suffix = suffix[:_SUFFIX_CHARACTERS].replace("\r\n", "\n")
        self._has_rest_of_line = bool(suffix.partition("\n")[0].strip())
        self._rest_is_comment = suffix.lstrip().startswith("#")
        self._below, _ = _logical_lines(suffix[: suffix.rfind("\n") + 1])  # a line that is cut short says nothing
        self._is_unknown = bool(suffix.strip()) and not self._below
        cursor_line = self._prefix[self._prefix.rfind("\n") + 1 :]
        self._floor = _width(cursor_line) if keeps_indent else 0

    def may_end(self, middle: str) -> bool:
        """False where the text so far, followed by the suffix, is no Python for certain."""
        text = self._prefix + middle.replace("\r\n", "\n")
        last_line = text[text.rfind("\n") + 1 :]
        below = self._below
        if self._has_rest_of_line:
            if last_line.strip() or self._rest_is_comment:
                return True  # they share a line, which is no matter of blocks
            below = [last_line + below[0], *below[1:]] if below else below
        lines, is_whole = _logical_lines(text)
        return self._is_unknown or not is_whole or not lines or self._fit(lines, below)

    def needs_newline(self, middle: str) -> bool:
        """Whether a line has to begin behind an end that was refused, rather than this line go on (`if a|`)."""
        text = self._prefix + middle
        line = text[text.rfind("\n") + 1 :].rstrip()
        return bool(line) and (line.endswith(":") or _word(line) not in _HEADS)

    def _fit(self, lines: list[str], below: Sequence[str]) -> bool:
        """Whether the lines below may follow; none is the end of the file, or of what is shown of it."""
        below = below or ("",)
        first, last = _width(below[0]), _width(lines[-1])
        is_body = lines[-1].rstrip().endswith(":")
        if is_body != (first > last):
            return False
        lowest = first if is_body else first + 1
        lines = list(lines)
        for line in below:
            width = _width(line)
            # Only a line that is indented less than all before it meets blocks from above the hole's end.
            if width < lowest and not self._closes_well(lines, line):
                return False
            if width <= lowest:
                lowest = width
                lines.append(line)
        return True

    def _closes_well(self, lines: Sequence[str], below: str) -> bool:
        """Whether every block that the line below closes may be closed by it, and its own clause belongs somewhere."""
        width, clause = _width(below), _word(below)
        newest = None  # of the lines walked past, the least indented
        for line in reversed(lines):
            level = _width(line)
            if newest is not None and level >= newest:
                continue
            newest = level
            if level < self._floor:
                return True
            if level < width:
                return False  # between two indentations: no block stands open there
            is_own = level == width
            if _word(line) == "try" and not (is_own and clause in ("except", "finally")):
                return False
            if is_own:
                return clause not in _COMES_BEHIND or _word(line) in _COMES_BEHIND[clause]
        return True


def _logical_lines(text: str) -> tuple[list[str], bool]:
    """Lines with content, strings emptied, comments and joined lines taken out.

    (the lines before it, False) where the last one stops inside a string or a bracket.
    """
    kept: list[str] = []
    depth = position = 0
    while (found := _PIECE.search(text, position)) is not None:
        kept.append(_between(text[position : found.start()], depth))
        position = found.end()
        if (quotes := found["triple"]) is not None:
            position = _end_of_string(text, position, quotes)
            if position < 0:
                return _with_content(kept)[:-1], False
            kept.append('""')
        elif found["open"] is not None:
            depth += 1
        elif found["close"] is not None:
            kept.append(")")
            if depth == 0:  # the text begins inside a bracket: what came so far were no lines of their own
                kept = [_UNKNOWN]
            depth = max(0, depth - 1)
        elif found["comment"] is None and found["joined"] is None:
            kept.append('""')
    kept.append(_between(text[position:], depth))
    lines = _with_content(kept)
    # Behind a backslash the line below belongs to the last one.
    is_whole = not depth and not text.endswith(("\\", "\\\n"))
    return (lines, True) if is_whole else (lines[:-1], False)


def _with_content(pieces: Sequence[str]) -> list[str]:
    return [line for line in "".join(pieces).split("\n") if line.strip() and _UNKNOWN not in line]


def _between(text: str, depth: int) -> str:
    return text.replace("\n", " ") if depth else text


def _end_of_string(text: str, start: int, quotes: str) -> int:
    """Where the triple-quoted string whose content begins at `start` is over; -1 where it is not."""
    found = re.compile(rf"(?:\\.|(?!{quotes})[^\\])*{quotes}", re.DOTALL).match(text, start)
    return -1 if found is None else found.end()


def _width(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(8))


def _word(line: str) -> str:
    found = _WORD.match(line)
    return "" if found is None else found.group(1)
