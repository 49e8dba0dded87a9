"""Scores from plain numbers and texts: Wilson interval, edit similarity, paired sign test, quality under parallelism.

Knows neither cases nor files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher


def wilson_interval(passed: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion (95 % by default), as fractions; (0, 1) when there is nothing."""
    if total == 0:
        return (0.0, 1.0)
    share = passed / total
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    centre = share + z * z / (2 * total)
    scale = 1 + z * z / total
    return (max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


def edit_similarity(answer: str, expected: str) -> float:
    """1 - Levenshtein distance / longer length, over characters; 1.0 for two empty texts."""
    longest = max(len(answer), len(expected))
    if longest == 0:
        return 1.0
    return 1.0 - levenshtein(answer, expected) / longest


def levenshtein(first: str, second: str) -> int:
    """Least number of single-character insertions, deletions and substitutions."""
    if len(first) < len(second):
        first, second = second, first
    previous = list(range(len(second) + 1))
    for row, character in enumerate(first, start=1):
        current = [row]
        for column, other in enumerate(second, start=1):
            current.append(
                min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (character != other)),
            )
        previous = current
    return previous[-1]


def kept_characters(suggestion: str, settled: str) -> int:
    """Characters of a suggestion that survive, in order, in the text the user settled on."""
    matcher = SequenceMatcher(None, suggestion, settled, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())


def paired_p_value(only_first: int, only_second: int) -> float:
    """Exact two-sided sign test (McNemar) on the cases where just one of two runs passed."""
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1)) / 2**discordant
    return min(1.0, 2 * tail)


def quality_under_parallelism(points: Sequence[tuple[float, float]], alpha: float = 3.0) -> float:
    """Area under quality over tokens per forward, quality losses punished exponentially.

    `points` are (tokens per forward, quality in percent). After AUP of d3LLM (hao-ai-lab, 2025): each quality is
    weighted by exp(-alpha * (1 - quality / best)), points more than 5 below the least parallel one are dropped, and
    the area starts with the rectangle up to the first point, so an autoregressive decoder scores its own quality.
    """
    ordered = sorted(points)
    if not ordered:
        return 0.0
    kept = [point for point in ordered if point[1] >= ordered[0][1] - 5.0]
    best = max(quality for _, quality in kept)
    if best <= 0:
        return 0.0
    weighted = [quality * math.exp(-alpha * (1 - quality / best)) for _, quality in kept]
    area = kept[0][0] * weighted[0]
    for index in range(1, len(kept)):
        width = kept[index][0] - kept[index - 1][0]
        area += width * (weighted[index] + weighted[index - 1]) / 2
    return area


def percentile(values: Sequence[float], fraction: float) -> float:
    """The value below which `fraction` of the values lie, linearly interpolated; 0.0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)
