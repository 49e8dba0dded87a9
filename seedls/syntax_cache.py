"""The parses of one document while it is edited: whole when it is short, else the part around the cursor.

Owns the choice of that part. tree-sitter reuses old nodes, but walks over every top-level one: 5 ms a keystroke in a
file of 10,000 lines. A part of some hundred lines that begins and ends between top-level nodes costs a tenth of that.
It does not know documents or positions.
"""

from __future__ import annotations

from seedls.syntax import SyntaxTree, parse
from seedls.text_edits import Replacement, single_replacement

_SHORT = 10_000
"""Characters up to which a text is parsed whole."""
_MARGIN = 2_500
"""Characters around what is asked for that a part holds at least."""


class TreeCache:
    """The last parse of one document. The event loop owns it."""

    __slots__ = ("_part", "_text", "_whole", "language_id", "num_whole_parses")

    def __init__(self, language_id: str) -> None:
        self.language_id = language_id
        self.num_whole_parses = 0
        """Times that a text was walked over in full."""
        self._whole: SyntaxTree | None = None
        self._part: SyntaxTree | None = None
        self._text = ""
        """The whole text that `_part` is from."""

    def tree(self, text: str, start: int, end: int) -> SyntaxTree | None:
        """A parse that holds [start, end) of `text`; None when there is no grammar for the language."""
        part = self._part_of_changed(text)
        if part is None or not _holds(part, text, start, end):
            whole = self._whole_tree(text)
            if whole is None:
                return None
            part = whole
            if len(text) > _SHORT:
                region = whole.region_around(max(0, start - _MARGIN), min(len(text), end + _MARGIN))
                part = whole.part(*region) if region[1] - region[0] < len(text) else whole
        self._part, self._text = part, text
        return part

    def _whole_tree(self, text: str) -> SyntaxTree | None:
        self.num_whole_parses += 1
        self._whole = parse(self.language_id, text) if self._whole is None else self._whole.reparsed(text)
        return self._whole

    def _part_of_changed(self, text: str) -> SyntaxTree | None:
        """The last part in the new text, unless the change reaches beyond it."""
        part = self._part
        if part is None:
            return None
        change = single_replacement(self._text, text)
        if change is None:
            return part
        is_whole = part.origin == 0 and part.end == len(self._text)
        return None if is_whole and len(text) > _SHORT else _after_change(part, change, text)


def _after_change(part: SyntaxTree, change: Replacement, text: str) -> SyntaxTree | None:
    growth = len(change.new_text) - (change.end - change.start)
    if part.origin <= change.start and change.end <= part.end:
        return part.reparsed(text[part.origin : part.end + growth])
    if change.end < part.origin:
        return part.moved(part.origin + growth)
    return part if change.start > part.end else None


def _holds(part: SyntaxTree, text: str, start: int, end: int) -> bool:
    """With some margin, unless the text ends there."""
    has_room_before = part.origin == 0 or start - part.origin >= _MARGIN // 2
    has_room_behind = part.end == len(text) or part.end - end >= _MARGIN // 2
    return has_room_before and has_room_behind
