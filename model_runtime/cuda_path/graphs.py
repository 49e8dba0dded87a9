"""Captured graphs: a function over fixed memory is recorded once and replayed in one launch ever after.

Thin on purpose. Whatever is worth testing is in the functions; here is when they are called, captured or replayed. A
function that cannot be captured is called as it is from then on, with one log line. It does not know what they compute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Protocol

import torch

from model_runtime.cuda_path.failures import is_device_lost

_LOG = logging.getLogger(__name__)


class Replayable(Protocol):
    """A recorded function."""

    def replay(self) -> None:
        """Run it again on the same memory."""


Capture = Callable[[Callable[[], None]], Replayable]
"""Records a function without running it."""


class Graphs:
    """Functions by key, each captured after its first call."""

    def __init__(self, capture: Capture | None) -> None:
        """`capture` None: functions are always called as they are."""
        self._capture = capture
        self._recorded: dict[Hashable, Replayable] = {}
        self.num_replays = 0

    @property
    def is_capturing(self) -> bool:
        """False without a device that can, or after a capture has failed."""
        return self._capture is not None

    @property
    def num_captured(self) -> int:
        """Graphs held."""
        return len(self._recorded)

    def run(self, key: Hashable, function: Callable[[], None]) -> None:
        """Do once what `function` does: the first time by calling it, later by replaying what it queued.

        The first call is a real one because it compiles kernels and fills torch's workspaces, which capture forbids.
        """
        recorded = self._recorded.get(key)
        if recorded is not None:
            recorded.replay()
            self.num_replays += 1
            return
        function()
        if self._capture is not None:
            self._record(key, function)

    def _record(self, key: Hashable, function: Callable[[], None]) -> None:
        assert self._capture is not None
        try:
            self._recorded[key] = self._capture(function)
        except Exception as failure:
            if is_device_lost(failure):
                raise
            # Out of memory, an operation left to plain torch, a driver that cannot: slower, not wrong.
            _LOG.warning(
                "CUDA graphs are off: %s", str(failure).strip().splitlines()[0][:200] or type(failure).__name__
            )
            self._capture = None
            self._recorded.clear()


class CudaCapture:
    """Records on a CUDA device; all graphs share one pool of memory, because one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], None]) -> Replayable:
        """`function` as a graph of what it launches on torch's current stream."""
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # Thread-local: another thread's allocation must not spoil the capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            function()
        return graph
