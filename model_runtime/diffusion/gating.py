"""Stay silent rather than wrong: an infill is kept up to its first line the model is not sure of.

A line's confidence is the geometric mean probability of its tokens. On held-out lines it orders right and wrong ones
well; which minimum gives which share of right lines is printed by `benchmarks/calibration.py`. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_SHORT_LINE = 12
"""Tokens: a line is given up before its end only if it would be too weak even were the rest of this many certain."""


def confidence(log_probs: Sequence[float]) -> float:
    """Geometric mean probability; 0 when there is nothing."""
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else 0.0


def length_of_sure_lines(
    text: str, token_ends: Sequence[int], log_probs: Sequence[float], minimum: float
) -> int | None:
    """Characters before the first line whose confidence is below `minimum`; None when there is no such line.

    `token_ends` are offsets in `text`, ascending. The last line counts as it stands.
    """
    line_start = 0
    while line_start < len(text):
        newline = text.find("\n", line_start)
        line_end = len(text) if newline < 0 else newline + 1
        of_line = [each for end, each in zip(token_ends, log_probs, strict=False) if line_start < end <= line_end]
        if of_line and confidence(of_line) < minimum:
            return line_start
        line_start = line_end
    return None


class LineGate:
    """Tells while a line is being written that it cannot become sure enough any more."""

    def __init__(self, minimum: float) -> None:
        self._log_minimum = math.log(minimum) if minimum > 0 else -math.inf
        self._sum = 0.0
        self._num_tokens = 0

    def feed(self, token: bytes, log_prob: float) -> bool:
        """Add one token; True when its line is hopeless."""
        self._sum += log_prob
        self._num_tokens += 1
        is_hopeless = self._sum < self._log_minimum * max(self._num_tokens, _SHORT_LINE)
        if b"\n" in token:
            self._sum, self._num_tokens = 0.0, 0
        return is_hopeless
