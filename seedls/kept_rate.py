"""How much of an accepted completion is still there a while later: the one measure of use that is worth having.

Owns the local file of such figures: numbers and a language id a line, never text, never sent anywhere. It does not know
the protocol or the model. Where the accepted text stands is remembered in memory only, until it is looked at again.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

_log = logging.getLogger("seedls")
FILE_NAME = "kept_rate.jsonl"
SETTLED_S = 30.0
"""After this time people have mostly made up their mind."""
_MAX_FILE_BYTES = 1_000_000
_MAX_TOKENS = 4_000
_SEARCH_LINES = 60
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A completion that the user took. Texts use `\\n`."""

    uri: str
    language: str
    text: str
    line_idx: int
    """Line of its first character then."""
    anchor: str
    """What stands before it in that line, or the last line with text above: finds the place when lines moved."""
    below_anchor: int
    """Lines from the anchor to the text."""
    at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """One figure."""

    language: str
    characters: int
    """Letters and signs of the accepted text, blanks not counted."""
    kept: float
    """Share of them that is still there in the same order, 0 to 1."""
    seconds: float


def accepted(uri: str, language: str, before: str, text: str) -> Accepted:
    """Remember a completion put behind `before`."""
    lines = before.split("\n")
    anchor_idx = next((idx for idx in range(len(lines) - 1, -1, -1) if lines[idx].strip()), 0)
    last = len(lines) - 1
    return Accepted(uri, language, text, last, lines[anchor_idx].strip(), last - anchor_idx, time.monotonic())


def measure(one: Accepted, lines: list[str], now: float | None = None) -> Kept:
    """Look at the document again; `lines` without or with terminators."""
    place = _place(one, lines)
    size = one.text.count("\n") + 1
    then = _TOKEN.findall(one.text)[:_MAX_TOKENS]
    here = _TOKEN.findall("\n".join(lines[place : place + 2 * size + 3]))[: 2 * _MAX_TOKENS]
    blocks = SequenceMatcher(None, then, here, autojunk=False).get_matching_blocks()
    kept = sum(len(token) for block in blocks for token in then[block.a : block.a + block.size])
    total = sum(map(len, then))
    seconds = (time.monotonic() if now is None else now) - one.at
    return Kept(one.language, total, round(kept / total, 3) if total else 0.0, round(seconds, 1))


def _place(one: Accepted, lines: list[str]) -> int:
    """The line where it stands now: the nearest one that looks like the line it was put into."""
    expected = one.line_idx - one.below_anchor
    near = sorted(
        range(max(0, expected - _SEARCH_LINES), min(len(lines), expected + _SEARCH_LINES)),
        key=lambda idx: abs(idx - expected),
    )
    found = next((idx for idx in near if one.anchor and lines[idx].strip().startswith(one.anchor)), None)
    return min(one.line_idx, len(lines)) if found is None else found + one.below_anchor


class KeptRateFile:
    """The figures on the disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def append(self, figure: Kept) -> None:
        """Add one line; a file that cannot be written is logged and forgotten."""
        line = {
            "day": time.strftime("%Y-%m-%d"),
            "language": figure.language,
            "characters": figure.characters,
            "kept": figure.kept,
            "seconds": figure.seconds,
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size > _MAX_FILE_BYTES:
                self._halve()
            with self.path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")
        except OSError as error:
            _log.warning("the kept rate could not be written: %s", error.strerror or type(error).__name__)

    def delete(self) -> bool:
        """Remove the file; false when there was none. Raises OSError."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _halve(self) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        self.path.write_text("".join(lines[len(lines) // 2 :]), encoding="utf-8")
