"""A range that is too long for one edit, cut into windows of whole lines. Pure: lines and their costs in.

A cut is made where code falls apart anyhow: before a line of little indentation behind an empty one. A line that is
too long by itself is a window that no model sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_runtime.diffusion.edit_range import indent_of


@dataclass(frozen=True, slots=True)
class Window:
    """Lines [first, last) of a range."""

    first: int
    last: int
    is_shown: bool = True
    """False: it stays as it is, unseen."""


def cut_windows(lines: Sequence[str], costs: Sequence[int], limit: int) -> list[Window]:
    """Disjoint windows that cover all lines, each of a cost of at most `limit` but for single lines above it.

    `costs` are tokens a line. Windows of nothing but blanks are not shown.
    """
    assert len(lines) == len(costs) and limit >= 1
    windows: list[Window] = []
    first = 0
    while first < len(lines):
        last = _farthest(costs, first, limit)
        if last == first:
            windows.append(Window(first, first + 1, is_shown=False))
            first += 1
            continue
        if last < len(lines):
            last = _best_cut(lines, first, last)
        windows.append(Window(first, last, is_shown=any(line.strip() for line in lines[first:last])))
        first = last
    return windows


def _farthest(costs: Sequence[int], first: int, limit: int) -> int:
    """Where the longest window from `first` ends."""
    total, last = 0, first
    while last < len(costs) and total + costs[last] <= limit:
        total += costs[last]
        last += 1
    return last


def _best_cut(lines: Sequence[str], first: int, last: int) -> int:
    """The best of the places in the window's second half; the latest of equals."""
    return max(range(first + (last - first) // 2 + 1, last + 1), key=lambda place: (*_quality(lines, place), place))


def _quality(lines: Sequence[str], place: int) -> tuple[int, int]:
    """(little indentation, behind an empty line) of a cut before the line at `place`."""
    line = lines[place]
    if not line.strip():
        return (-99, 0)  # the empty lines stay with what is above them
    is_closer = line.lstrip(" \t")[:1] in ")]}"
    return (-len(indent_of(line).expandtabs(4)) - 2 * is_closer, int(not lines[place - 1].strip()))
