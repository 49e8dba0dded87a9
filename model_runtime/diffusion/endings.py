"""Where a hole in Python cannot end: the text behind it would not fit the blocks that stand open there.

A small model likes to end behind the first line of a block, before `else:` without an `if`, or inside a `try` that
nothing handles. Python's indentation says so without a parse of the whole file; such an end is refused, and the model
has to go on. Only what is certain counts: inside brackets and strings, and where the window hides the outer blocks,
every end is possible. Text only; the grammar is the Python reference's, "Compound statements" and "Indentation".
"""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"(?P<triple>\"\"\"|''')"
    r"|\"(?:\\.|[^\"\\\n])*(?:\"|$)|'(?:\\.|[^'\\\n])*(?:'|$)"
    r"|(?P<comment>#[^\n]*)|(?P<joined>\\\n)|(?P<open>[(\[{])|(?P<close>[)\]}])",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"\s*(?:async\s+)?(\w+)")
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
        rest, _, below = suffix.replace("\r\n", "\n").partition("\n")
        self._rest_of_line = rest
        # A comment may stand anywhere.
        self._line_below = next((line for line in below.split("\n") if line.strip() and not _is_comment(line)), None)
        cursor_line = self._prefix[self._prefix.rfind("\n") + 1 :]
        self._floor = _width(cursor_line) if keeps_indent else 0

    def may_end(self, middle: str) -> bool:
        """False where the text so far, followed by the suffix, is no Python for certain."""
        text = self._prefix + middle.replace("\r\n", "\n")
        last_line = text[text.rfind("\n") + 1 :]
        below = self._line_below
        if self._rest_of_line.strip():
            if last_line.strip():
                return True  # they share a line, which is no matter of blocks
            below = last_line + self._rest_of_line
            if _is_comment(below):
                return True
        lines = _logical_lines(text)
        return not lines or self._fits(lines, below)

    def _fits(self, lines: list[str], below: str | None) -> bool:
        """Whether the line below may follow; None is the end of the file, or of what is shown of it."""
        width, last = _width(below or ""), _width(lines[-1])
        if lines[-1].rstrip().endswith(":"):
            return below is not None and width > last
        if width > last:
            return False
        return self._closes_well(lines, below)

    def _closes_well(self, lines: list[str], below: str | None) -> bool:
        """Whether every block that the line below closes may be closed by it, and its own clause belongs somewhere."""
        width, clause = _width(below or ""), _word(below or "")
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


def _logical_lines(text: str) -> list[str]:
    """Lines with content, strings emptied, comments and joined lines taken out; none inside a string or a bracket."""
    kept: list[str] = []
    depth = position = 0
    while (found := _PIECE.search(text, position)) is not None:
        kept.append(_between(text[position : found.start()], depth))
        position = found.end()
        if (quotes := found["triple"]) is not None:
            position = _end_of_string(text, position, quotes)
            if position < 0:
                return []
            kept.append('""')
        elif found["open"] is not None:
            depth += 1
        elif found["close"] is not None:
            depth = max(0, depth - 1)
            kept.append(")")
        elif found["comment"] is None and found["joined"] is None:
            kept.append('""')
    kept.append(_between(text[position:], depth))
    is_joined = text.endswith(("\\", "\\\n"))  # the line below belongs to the last one
    return [] if depth or is_joined else [line for line in "".join(kept).split("\n") if line.strip()]


def _between(text: str, depth: int) -> str:
    return text.replace("\n", " ") if depth else text


def _end_of_string(text: str, start: int, quotes: str) -> int:
    """Where the triple-quoted string whose content begins at `start` is over; -1 where it is not."""
    found = re.compile(rf"(?:\\.|(?!{quotes}).)*{quotes}", re.DOTALL).match(text, start)
    return -1 if found is None else found.end()


def _width(line: str) -> int:
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(8))


def _word(line: str) -> str:
    found = _WORD.match(line)
    return "" if found is None else found.group(1)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")
