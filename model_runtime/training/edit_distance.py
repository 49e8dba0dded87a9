"""Levenshtein distance of token sequences (Levenshtein 1966): deletions, insertions and replacements cost one each."""

from __future__ import annotations

from collections.abc import Sequence


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Least number of edits that lead from one sequence to the other."""
    before = list(range(len(other) + 1))
    for i, token in enumerate(one, 1):
        row = [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (token != wanted)))
        before = row
    return before[-1]


def mean_pair_distance(states: Sequence[Sequence[int]]) -> float:
    """Mean edit distance over all pairs of a trajectory's states; 0 with fewer than two."""
    pairs = [(a, b) for index, a in enumerate(states) for b in states[index + 1 :]]
    return sum(edit_distance(a, b) for a, b in pairs) / len(pairs) if pairs else 0.0
