"""Counters and timings of one session, in memory only. They hold numbers and fixed words, never text of the user.

Owns what `seedls.status` and `seedls.explainLast` report. It does not know the protocol.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass

from seedls.protocol import Explanation

_log = logging.getLogger("seedls.requests")
_KEPT = 200


@dataclass(frozen=True, slots=True)
class RequestReport:
    """How one request went."""

    request: str
    outcome: str
    """`shown`, `quiet`, `stale`, `superseded`, `cancelled` or `failed`."""
    reason: str
    total_ms: float
    queue_ms: float = 0.0
    run_ms: float = 0.0
    tokens: int = 0
    forwards: int = 0


class Metrics:
    """The session's counters."""

    def __init__(self) -> None:
        self._counters: Counter[str] = Counter()
        self._durations: dict[str, deque[float]] = {}
        self._last = Explanation("", "", "nothing was asked yet")

    def record(self, report: RequestReport) -> None:
        """Count one request, log its timings, and remember why it ended so."""
        self._counters[f"{report.request}.{report.outcome}"] += 1
        durations = self._durations.setdefault(report.request, deque(maxlen=_KEPT))
        durations.append(report.total_ms)
        self._last = Explanation(report.request, report.outcome, report.reason, round(report.total_ms, 1))
        _log.info(
            "%s %s (%s) total %.1f ms, queued %.1f, ran %.1f, %d tokens, %d forwards",
            report.request,
            report.outcome,
            report.reason,
            report.total_ms,
            report.queue_ms,
            report.run_ms,
            report.tokens,
            report.forwards,
        )

    def count(self, name: str, amount: int = 1) -> None:
        """Count something that is not a request."""
        self._counters[name] += amount

    @property
    def last(self) -> Explanation:
        """The last finished request."""
        return self._last

    @property
    def counters(self) -> dict[str, int]:
        """All counters by name."""
        return dict(self._counters)

    def percentile_ms(self, fraction: float) -> dict[str, float]:
        """Duration of each kind of request at `fraction` (0..1) of the last ones, in milliseconds."""
        result: dict[str, float] = {}
        for request, durations in self._durations.items():
            ordered = sorted(durations)
            result[request] = round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))], 1)
        return result
