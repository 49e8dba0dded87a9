"""One request while the server works on it: claimed, released and reported, however it ends.

Owns what every request for the model has in common. It does not know what is asked or answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from seedls.metrics import RequestReport
from seedls.scheduler import Finished, JobKey, NotRun, StopSignal
from seedls.session import Session

_STOPPED = {
    "superseded": "a newer request for the same document replaced it",
    "late": "the model was busy until the deadline",
    "closed": "the server is shutting down",
}


class NoAnswer(Exception):
    """There is nothing to show or to apply: outcome and reason as in `seedls.explainLast`."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


@dataclass(slots=True)
class OpenRequest:
    """The request's stop signal, and what will be reported about it."""

    signal: StopSignal
    report: RequestReport

    def ran(self, finished: Finished[Any], tokens: int, forwards: int) -> None:
        """Note what the model did."""
        self.report = replace(
            self.report, queue_ms=finished.queue_ms, run_ms=finished.run_ms, tokens=tokens, forwards=forwards
        )

    def because(self, reason: str) -> None:
        """Note why the answer is what it is."""
        self.report = replace(self.report, reason=reason)

    def _end(self, outcome: str, reason: str) -> None:
        self.report = replace(self.report, outcome=outcome, reason=reason)


@contextmanager
def open_request(session: Session, name: str, key: JobKey, deadline_ms: float | None = None) -> Iterator[OpenRequest]:
    """Be the newest request of `key` inside the block; what the block raises comes out, NotRun as NoAnswer."""
    started = time.monotonic()
    request = OpenRequest(session.scheduler.claim(key, deadline_ms), RequestReport(name, "shown", "", 0.0))
    try:
        yield request
    except NoAnswer as nothing:
        request._end(nothing.outcome, nothing.reason)
        raise
    except NotRun as stopped:
        reason = _STOPPED.get(stopped.reason, stopped.reason)
        request._end(stopped.reason, reason)
        raise NoAnswer(stopped.reason, reason) from None
    except asyncio.CancelledError:
        request.signal.stop("cancelled")
        request._end("cancelled", "the editor cancelled the request")
        raise
    except Exception:
        request._end("failed", "the request failed; see the log")
        raise
    finally:
        session.scheduler.release(key, request.signal)
        session.metrics.record(replace(request.report, total_ms=(time.monotonic() - started) * 1000))
