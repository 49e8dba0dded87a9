"""Cancel-to-idle: how long the runtime still works after its caller gave up. One denoising step is the promise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from model_runtime.api import CompletionRequest, CompletionResult, StopRules
from model_runtime.errors import Cancelled
from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.scoring import percentile
from model_runtime.evaluation.solvers import DecodeOptions


class CancellableDecoder(Protocol):
    """The part of the runtime that can be stopped."""

    def complete(self, request: CompletionRequest, should_stop: Callable[[], bool]) -> CompletionResult: ...


def measure_cancel(
    runtime: CancellableDecoder, cases: Sequence[Case], rounds: int, fractions: Sequence[float] = (0.1, 0.3, 0.5, 0.7)
) -> dict[str, Any]:
    """Run each request once to the end, then cancel it after these fractions of that time; ms from cancel to return.

    Requests that ended before their cancellation are not counted.
    """
    lags: list[float] = []
    bar = ProgressBar(len(cases) * rounds * len(fractions), "cancel")
    for case in cases:
        for index in range(rounds):
            for fraction in fractions:
                # A new first line each time: otherwise a warm cache makes the second run shorter than the first.
                whole = _timed(runtime, _request(case, f"{index} {fraction} whole"), None)
                lag = _timed(runtime, _request(case, f"{index} {fraction} other"), whole * fraction)
                bar.advance()
                if lag > 0:
                    lags.append(lag * 1000)
    bar.close()
    return {
        "p50_ms": round(percentile(lags, 0.5), 2),
        "p95_ms": round(percentile(lags, 0.95), 2),
        "max_ms": round(max(lags, default=0.0), 2),
        "count": len(lags),
    }


def _timed(runtime: CancellableDecoder, request: CompletionRequest, cancel_after: float | None) -> float:
    """Seconds of the whole request; with `cancel_after` the seconds it still ran after that moment (negative: none)."""
    started = time.perf_counter()
    deadline = float("inf") if cancel_after is None else started + cancel_after
    with suppress(Cancelled):
        runtime.complete(request, lambda: time.perf_counter() >= deadline)
    ended = time.perf_counter()
    return ended - started if cancel_after is None else ended - deadline


def _request(case: Case, mark: str) -> CompletionRequest:
    # No line limit: long enough to be cancelled in the middle.
    renamed = replace(case, prefix=f"# {mark}\n{case.prefix}")
    return CompletionRequest(
        prefix=renamed.prefix,
        suffix=renamed.suffix,
        language=renamed.language,
        stop=StopRules(stop_at_suffix=False),
        params=DecodeOptions().params(case.max_tokens),
    )
