from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from seedls.scheduler import JobKey, NotRun, Scheduler, StopSignal

KEY = JobKey("file:///a", "completion")
STEP_S = 0.005


@asynccontextmanager
async def _scheduler() -> AsyncIterator[Scheduler]:
    scheduler = Scheduler()
    try:
        yield scheduler
    finally:
        scheduler.close()


@contextmanager
def _gate() -> Iterator[threading.Event]:
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


class Steps:
    """Work like a model's: steps, and a look at the stop flag between them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = threading.Event()
        self.num_steps = 0
        self.was_stopped = False

    def __call__(self, stop: StopSignal) -> str:
        self.started.set()
        limit = time.monotonic() + self.seconds
        while time.monotonic() < limit:
            if stop():
                self.was_stopped = True
                return "partial"
            self.num_steps += 1
            time.sleep(STEP_S)
        return "whole"


async def _until(event: threading.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.001)


async def _idle(scheduler: Scheduler) -> None:
    limit = time.monotonic() + 5
    while not scheduler.is_idle:
        assert time.monotonic() < limit
        await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_an_answer_comes_with_its_times() -> None:
    async with _scheduler() as scheduler:
        finished = await scheduler.run(scheduler.claim(KEY), Steps(0.02))
        assert finished.value == "whole"
        assert finished.run_ms >= 20
        assert finished.queue_ms >= 0


@pytest.mark.asyncio
async def test_all_work_runs_on_one_thread() -> None:
    async with _scheduler() as scheduler:
        names = set()
        for number in range(5):
            finished = await scheduler.run(
                scheduler.claim(JobKey(str(number), "x")), lambda _: threading.current_thread().name
            )
            names.add(finished.value)
        assert len(names) == 1
        assert threading.current_thread().name not in names


@pytest.mark.asyncio
async def test_the_newest_request_wins_and_the_older_stops_within_a_step() -> None:
    async with _scheduler() as scheduler:
        slow = Steps(10)
        older = asyncio.ensure_future(scheduler.run(scheduler.claim(KEY), slow))
        await _until(slow.started)
        newer = await scheduler.run(scheduler.claim(KEY), Steps(0))
        assert newer.value == "whole"
        with pytest.raises(NotRun, match="superseded"):
            await older
        assert slow.was_stopped


@pytest.mark.asyncio
async def test_superseded_work_that_waits_in_the_queue_never_starts_and_is_answered_at_once() -> None:
    async with _scheduler() as scheduler:
        with _gate() as gate:
            blocking = asyncio.ensure_future(
                scheduler.run(scheduler.claim(JobKey("b", "edit")), lambda _: gate.wait(10))
            )
            waiting = Steps(0)
            queued = asyncio.ensure_future(scheduler.run(scheduler.claim(KEY), waiting))
            await asyncio.sleep(0.01)
            scheduler.claim(KEY)
            with pytest.raises(NotRun, match="superseded"):
                await asyncio.wait_for(queued, 1)  # although the worker is still busy
        await blocking
        await _idle(scheduler)
        assert not waiting.started.is_set()


@pytest.mark.asyncio
async def test_other_documents_and_other_kinds_do_not_replace_each_other() -> None:
    async with _scheduler() as scheduler:
        keys = [KEY, JobKey(KEY.uri, "edit"), JobKey("file:///b", KEY.kind)]
        answers = await asyncio.gather(*(scheduler.run(scheduler.claim(key), Steps(0.01)) for key in keys))
        assert [one.value for one in answers] == ["whole"] * 3


@pytest.mark.asyncio
async def test_cancelling_the_waiting_task_stops_the_worker() -> None:
    async with _scheduler() as scheduler:
        slow = Steps(10)
        task = asyncio.ensure_future(scheduler.run(scheduler.claim(KEY), slow))
        await _until(slow.started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _idle(scheduler)
        assert slow.was_stopped


@pytest.mark.asyncio
async def test_work_past_its_deadline_returns_what_it_has() -> None:
    async with _scheduler() as scheduler:
        finished = await scheduler.run(scheduler.claim(KEY, deadline_ms=30), Steps(10))
        assert finished.value == "partial"
        assert finished.run_ms < 1000


@pytest.mark.asyncio
async def test_work_still_queued_at_its_deadline_is_given_up() -> None:
    async with _scheduler() as scheduler:
        with _gate() as gate:
            blocking = asyncio.ensure_future(
                scheduler.run(scheduler.claim(JobKey("b", "edit")), lambda _: gate.wait(10))
            )
            late = Steps(0)
            with pytest.raises(NotRun, match="late"):
                await asyncio.wait_for(scheduler.run(scheduler.claim(KEY, deadline_ms=20), late), 1)
        await blocking
        await _idle(scheduler)
        assert not late.started.is_set()


@pytest.mark.asyncio
async def test_an_error_reaches_the_one_who_waits_and_the_worker_goes_on() -> None:
    async with _scheduler() as scheduler:

        def broken(_: StopSignal) -> None:
            raise ValueError("bad")

        with pytest.raises(ValueError, match="bad"):
            await scheduler.run(scheduler.claim(KEY), broken)
        assert (await scheduler.run(scheduler.claim(KEY), Steps(0))).value == "whole"


@pytest.mark.asyncio
async def test_closing_stops_running_work_at_once_and_refuses_more() -> None:
    scheduler = Scheduler()
    slow = Steps(10)
    task = asyncio.ensure_future(scheduler.run(scheduler.claim(KEY), slow))
    await _until(slow.started)
    started = time.monotonic()
    scheduler.close()
    with pytest.raises(NotRun, match="closed"):
        await task
    await _idle(scheduler)
    assert time.monotonic() - started < 1
    assert slow.was_stopped
    with pytest.raises(NotRun, match="closed"):
        await scheduler.run(scheduler.claim(KEY), Steps(0))


@pytest.mark.asyncio
async def test_closing_a_document_stops_only_its_own_work() -> None:
    async with _scheduler() as scheduler:
        slow, other = Steps(10), Steps(0.01)
        task = asyncio.ensure_future(scheduler.run(scheduler.claim(KEY), slow))
        second = asyncio.ensure_future(scheduler.run(scheduler.claim(JobKey("file:///b", "completion")), other))
        await _until(slow.started)
        scheduler.stop_document(KEY.uri)
        with pytest.raises(NotRun):
            await task
        assert (await second).value == "whole"


@pytest.mark.asyncio
async def test_a_flood_of_requests_leaves_one_answer_and_little_work() -> None:
    async with _scheduler() as scheduler:
        works = [Steps(0.05) for _ in range(200)]
        tasks = [asyncio.ensure_future(scheduler.run(scheduler.claim(KEY), work)) for work in works]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(answer, NotRun) for answer in answers] == [True] * 199 + [False]
        assert sum(work.started.is_set() for work in works) <= 2


def test_releasing_keeps_a_newer_request() -> None:
    scheduler = Scheduler()
    older = scheduler.claim(KEY)
    newer = scheduler.claim(KEY)
    scheduler.release(KEY, older)
    scheduler.claim(KEY)
    assert newer.is_set()
    scheduler.close()
