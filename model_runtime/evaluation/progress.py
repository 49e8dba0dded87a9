"""A one-line progress bar on standard error, silent when that is not a terminal."""

from __future__ import annotations

import sys
import time


class ProgressBar:
    """Redraws one line: done/total, a note, and the time left at the pace so far."""

    def __init__(self, total: int, title: str) -> None:
        self.total = total
        self.title = title
        self.done = 0
        self.started = time.monotonic()
        self.is_shown = sys.stderr.isatty()

    def advance(self, note: str = "") -> None:
        """One more is done."""
        self.done += 1
        if not self.is_shown:
            return
        filled = 24 * self.done // max(1, self.total)
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        line = f"{self.title} [{'#' * filled}{'.' * (24 - filled)}] {self.done}/{self.total} {note} {left:.0f} s left"
        sys.stderr.write(f"\r\x1b[K{line[:160]}")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the line."""
        if self.is_shown and self.done:
            sys.stderr.write("\n")
