"""What the user changed lately, as bursts of typing in one place. Pure: line texts in, line texts out.

Owns where a burst begins and ends. It does not know documents, positions beyond line numbers, or the model.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from seedls.positions import LineText

_KEPT_BURSTS = 6
_KEPT_INTERVALS = 12
_LONGEST_INTERVAL_S = 1.5
"""A longer pause between two keystrokes says nothing about how fast somebody types."""


@dataclass(frozen=True, slots=True)
class LineChange:
    """One change: lines [first, last] became [first, new_last]."""

    first: int
    last: int
    new_last: int


@dataclass(frozen=True, slots=True)
class Burst:
    """Changes that followed each other in one place."""

    base: LineText
    """The text before the first of them."""
    first: int
    """First touched line, in the newest text."""
    last: int
    ended: LineText | None = None
    """The text after the last of them, once the user went on elsewhere."""


@dataclass(slots=True)
class EditHistory:
    """The bursts of one document. The event loop owns it."""

    current: Burst | None = None
    past: deque[Burst] = field(default_factory=lambda: deque(maxlen=_KEPT_BURSTS))
    changed_at: float = 0.0
    """When the text last changed (time.monotonic)."""
    _intervals: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_INTERVALS))

    def note(self, before: LineText, changes: Iterable[LineChange], now: float | None = None) -> None:
        """Take the changes of one notification; `before` is the text they were made on."""
        now = time.monotonic() if now is None else now
        if self.changed_at and now - self.changed_at < _LONGEST_INTERVAL_S:
            self._intervals.append(now - self.changed_at)
        self.changed_at = now
        for change in changes:
            self._extend(before, change)

    def _extend(self, before: LineText, change: LineChange) -> None:
        burst = self.current
        growth = change.new_last - change.last
        if burst is not None and change.first <= burst.last + 1 and change.last >= burst.first - 1:
            last = max(burst.last, change.last) + growth
            self.current = replace(burst, first=min(burst.first, change.first), last=last)
            return
        if burst is not None:
            self.past.append(replace(burst, ended=before))
        self.current = Burst(before, change.first, change.new_last)

    def typing_interval_s(self) -> float | None:
        """Median seconds between keystrokes; None before there were a few."""
        if len(self._intervals) < 3:
            return None
        return sorted(self._intervals)[len(self._intervals) // 2]

    def edits(self, newest: LineText) -> list[tuple[LineText, LineText]]:
        """(text before, text after) of every burst, newest first; undone ones are left out."""
        found = []
        end = newest
        for burst in ([self.current] if self.current else []) + list(reversed(self.past)):
            after = burst.ended or end
            if burst.base.lines != after.lines:
                found.append((burst.base, after))
            end = burst.base
        return found
