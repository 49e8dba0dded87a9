"""Half-open intervals on the number line: joining, intersecting, measuring."""

from itertools import pairwise


def overlaps(left: tuple[int, int], right: tuple[int, int]) -> bool:
    return left[0] < right[1] and right[0] < left[1]


def merge(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join intervals that touch or overlap; the result is sorted."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def covered_length(intervals: list[tuple[int, int]]) -> int:
    """How much of the line the intervals cover together."""
    total = 0
    for start, end in merge(intervals):
        total += end - start
    return total


def gaps(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The holes between the intervals, left to right."""
    merged = merge(intervals)
    holes: list[tuple[int, int]] = []
    for (_, end), (start, _) in pairwise(merged):
        holes.append((end, start))
    return holes
