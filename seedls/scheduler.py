"""Newest wins, deadlines, stop flags, and the one worker thread that owns the model.

Owns the hand-over between the event loop and the worker. It does not know requests, documents or engines: work is a
callable that takes a `StopSignal`.

A stop signal is a `threading.Event` that the model reads between denoising steps: cancelling an asyncio task does not
stop a running thread, so the flag is set first and the answer of the thread is ignored.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
AHEAD = "ahead"
"""`JobKey.kind` of work that nobody asked for yet: it yields to every other request."""


class NotRun(Exception):
    """The work gave no answer: its reason is one of `superseded`, `late`, `closed`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StopSignal:
    """Becomes true when its request is superseded, cancelled, or past its deadline. Callable as `should_stop`."""

    __slots__ = ("_event", "deadline", "has_started", "reason", "waiter")

    def __init__(self, deadline: float | None = None) -> None:
        self._event = threading.Event()
        self.deadline = deadline
        self.has_started = False
        self.waiter: asyncio.Future[None] | None = None
        """Set by the scheduler, so that the one who waits hears of a stop before the worker does."""
        self.reason = ""

    def stop(self, reason: str) -> None:
        """Ask the work to end at its next step; the first reason is kept. Event loop only."""
        self.reason = self.reason or reason
        self._event.set()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def is_late(self) -> bool:
        """True when the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def milliseconds_left(self) -> float | None:
        """Until the deadline, at least 0; None without one. Time in the queue is already gone."""
        return None if self.deadline is None else max(0.0, (self.deadline - time.monotonic()) * 1000)

    def is_set(self) -> bool:
        """True when the work's answer is not wanted any more (a passed deadline does not set it)."""
        return self._event.is_set()

    def __call__(self) -> bool:
        return self._event.is_set() or self.is_late()


@dataclass(frozen=True, slots=True)
class JobKey:
    """Requests with equal keys replace each other."""

    uri: str
    kind: str


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """An answer and the milliseconds it waited and ran."""

    value: Result
    queue_ms: float
    run_ms: float


class Scheduler:
    """One worker thread and the newest request of each key. Methods are called on the event loop only."""

    def __init__(self) -> None:
        # Not the protocol library's pool: that one also reads standard input, and a busy model would starve it.
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="seedls-model")
        self._newest: dict[JobKey, StopSignal] = {}
        self._running: set[StopSignal] = set()
        self._is_closed = False

    def claim(self, key: JobKey, deadline_ms: float | None = None) -> StopSignal:
        """Become the newest request of `key`: stops the one before, and work that nobody asked for yet. The deadline
        counts from now."""
        if key.kind != AHEAD:
            self._stop_ahead()
        deadline = None if deadline_ms is None else time.monotonic() + deadline_ms / 1000
        signal = StopSignal(deadline)
        if (older := self._newest.get(key)) is not None:
            older.stop("superseded")
        self._newest[key] = signal
        return signal

    def _stop_ahead(self) -> None:
        for key, signal in self._newest.items():
            if key.kind == AHEAD:
                signal.stop("superseded")

    def release(self, key: JobKey, signal: StopSignal) -> None:
        """Forget a finished request."""
        if self._newest.get(key) is signal:
            del self._newest[key]

    def stop_document(self, uri: str) -> None:
        """Stop everything that works for a document (it was closed)."""
        for key, signal in self._newest.items():
            if key.uri == uri:
                signal.stop("superseded")

    def stop_all(self) -> None:
        """Stop everything, queued or running."""
        for signal in (*self._newest.values(), *self._running):
            signal.stop("closed")

    @property
    def is_closed(self) -> bool:
        """True when no more work is taken."""
        return self._is_closed

    @property
    def is_idle(self) -> bool:
        """True when no work is queued or running."""
        return not self._running

    async def run(self, signal: StopSignal, work: Callable[[StopSignal], Result]) -> Finished[Result]:
        """Run `work` on the worker thread; raises NotRun, or what the work raised.

        Cancelling the awaiting task sets the stop signal. Whoever waits is released at once; the worker follows
        within one denoising step.
        """
        if self._is_closed:
            raise NotRun("closed")
        signal.waiter = asyncio.get_running_loop().create_future()
        future = self._executor.submit(_guarded, signal, work, time.monotonic())
        self._running.add(signal)
        future.add_done_callback(lambda _: self._running.discard(signal))
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_retrieve)
        try:
            await self._first_of(answer, signal)
        except asyncio.CancelledError:
            signal.stop("cancelled")
            raise
        if signal.is_set():
            raise NotRun(signal.reason)
        return await answer

    async def _first_of(self, answer: asyncio.Future[Finished[Result]], signal: StopSignal) -> None:
        """Wait for the answer or a stop; work still queued at its deadline is given up."""
        assert signal.waiter is not None
        waiting: set[asyncio.Future[Any]] = {answer, signal.waiter}
        timeout = None if signal.deadline is None else max(0.0, signal.deadline - time.monotonic())
        done, _ = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return
        if not signal.has_started:
            signal.stop("late")
            return
        # Running past its deadline: it ends within one step, with what is ready.
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    def close(self) -> None:
        """Stop all work and accept none; does not wait for the running step."""
        self._is_closed = True
        self.stop_all()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _guarded(signal: StopSignal, work: Callable[[StopSignal], Result], submitted: float) -> Finished[Result]:
    """Runs on the worker: work nobody waits for any more is not started."""
    started = time.monotonic()
    if signal.is_set():
        raise NotRun(signal.reason)
    if signal.is_late():
        raise NotRun("late")
    signal.has_started = True
    value = work(signal)
    return Finished(value, (started - submitted) * 1000, (time.monotonic() - started) * 1000)


def _retrieve(answer: asyncio.Future[Any]) -> None:
    """Mark an abandoned answer's exception as seen."""
    if not answer.cancelled():
        answer.exception()
