"""How large a canvas is, step by step.

A canvas of B positions costs more than one, by how much is the device's business. Without a measured curve the size
follows the drafts' luck: it grows while whole drafts are accepted and shrinks when they are not.
"""

from __future__ import annotations

MAX_BLOCK = 128


class AdaptiveBlock:
    """Canvas positions to draft in the next step."""

    def __init__(self, limit: int, start: int = 6) -> None:
        """`limit` is the block size: positions of one forward, the committed token before them not counted."""
        assert 1 <= limit <= MAX_BLOCK
        self._limit = limit
        self._size = min(start, limit)

    @property
    def size(self) -> int:
        """Positions to draft now, at least 1."""
        return self._size

    def record(self, num_drafted: int, num_accepted: int) -> None:
        """Learn from one step; a step without drafts teaches nothing."""
        if num_drafted == 0:
            return
        if num_accepted == num_drafted:
            self._size = min(self._limit, self._size * 2)
        else:
            self._size = max(2, min(self._limit, num_accepted + 2))
