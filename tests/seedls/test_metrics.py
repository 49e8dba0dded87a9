from __future__ import annotations

import logging

import pytest

from seedls.metrics import Metrics, RequestReport


def test_nothing_was_asked_yet() -> None:
    assert Metrics().last.reason == "nothing was asked yet"
    assert Metrics().percentile_ms(0.5) == {}


def test_counters_percentiles_and_the_last_reason(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    with caplog.at_level(logging.INFO, "seedls.requests"):
        for number in range(1, 11):
            metrics.record(RequestReport("inlineCompletion", "shown", "end", float(number)))
        metrics.record(RequestReport("inlineCompletion", "quiet", "not sure", 100.0, tokens=3))
    metrics.count("accepted")
    assert metrics.counters == {"inlineCompletion.shown": 10, "inlineCompletion.quiet": 1, "accepted": 1}
    assert metrics.percentile_ms(0.5) == {"inlineCompletion": 6.0}
    assert metrics.percentile_ms(0.9) == {"inlineCompletion": 10.0}
    assert metrics.percentile_ms(1.0) == {"inlineCompletion": 100.0}
    assert (metrics.last.outcome, metrics.last.reason) == ("quiet", "not sure")
    assert "quiet (not sure) total 100.0 ms" in caplog.text
