"""Medians, spread, and the rule that calls a figure slower than its baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_runtime.evaluation.scoring import percentile


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Quartiles; zeros when there are no values."""
        return cls(percentile(values, 0.5), percentile(values, 0.25), percentile(values, 0.75), len(values))


@dataclass(frozen=True, slots=True)
class Regression:
    """A figure that became worse than its baseline allows."""

    name: str
    before: float
    now: float

    def __str__(self) -> str:
        return f"{self.name}: {self.before:.4g} -> {self.now:.4g}"


def regressions(
    before: dict[str, float], now: dict[str, float], tolerance: float, higher_is_better: bool
) -> list[Regression]:
    """Figures of both that are worse by more than `tolerance` (0.25: a quarter), among those in both."""
    worse = []
    for name in sorted(before.keys() & now.keys()):
        old, new = before[name], now[name]
        is_worse = new < old / (1 + tolerance) if higher_is_better else new > old * (1 + tolerance)
        if is_worse:
            worse.append(Regression(name, old, new))
    return worse
