"""However a request ends, its place in the queue is free again and the report says how."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from seedls.engine import EngineFailed
from seedls.open_request import NoAnswer, OpenRequest, open_request
from seedls.protocol import Explanation
from seedls.scheduler import Finished, JobKey, NotRun
from seedls.session import Session
from tests.support.fake_engine import FakeEngine, Script

KEY = JobKey("file:///w/a.py", "completion")


def _ended_by(error: BaseException | None) -> tuple[Explanation, OpenRequest, Session]:
    """The report of a request whose block raised `error`."""
    session = Session(lambda settings: FakeEngine(Script()))
    expected: AbstractContextManager[Any] = nullcontext() if error is None else pytest.raises((type(error), NoAnswer))
    with expected, open_request(session, "ask", KEY) as opened:
        opened.because("it was good")
        if error is not None:
            raise error
    session.close()
    return session.metrics.last, opened, session


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, "shown", "it was good"),
        (NoAnswer("quiet", "nothing there"), "quiet", "nothing there"),
        (NotRun("superseded"), "superseded", "a newer request for the same document replaced it"),
        (NotRun("late"), "late", "the model was busy until the deadline"),
        (NotRun("closed"), "closed", "the server is shutting down"),
        (asyncio.CancelledError(), "cancelled", "the editor cancelled the request"),
        (EngineFailed("out of memory"), "failed", "the request failed; see the log"),
    ],
)
def test_each_end_is_reported(error: BaseException | None, outcome: str, reason: str) -> None:
    last, opened, session = _ended_by(error)
    assert (last.request, last.outcome, last.reason) == ("ask", outcome, reason)
    assert session.metrics.counters == {f"ask.{outcome}": 1}
    assert session.scheduler._newest == {}
    assert opened.signal.is_set() is (outcome == "cancelled")


@pytest.mark.parametrize(
    ("error", "comes_out"),
    [(NotRun("late"), NoAnswer), (EngineFailed("broken"), EngineFailed), (asyncio.CancelledError(), None)],
)
def test_what_comes_out(error: BaseException, comes_out: type[BaseException] | None) -> None:
    session = Session(lambda settings: FakeEngine(Script()))
    with pytest.raises(comes_out or type(error)), open_request(session, "ask", KEY):
        raise error
    session.close()


def test_what_the_model_did_is_reported_also_when_nothing_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="seedls.requests")
    session = Session(lambda settings: FakeEngine(Script()))
    with pytest.raises(NoAnswer), open_request(session, "ask", KEY) as opened:
        opened.ran(Finished("text", 3.0, 40.0), 7, 2)
        raise NoAnswer("quiet", "not sure enough")
    session.close()
    assert "queued 3.0, ran 40.0, 7 tokens, 2 forwards" in caplog.text


def test_a_newer_request_keeps_its_place_when_the_older_ends() -> None:
    session = Session(lambda settings: FakeEngine(Script()))
    with open_request(session, "ask", KEY) as older:
        newer = session.scheduler.claim(KEY)
    assert older.signal.is_set()
    assert session.scheduler._newest == {KEY: newer}
    session.close()
