"""The CUDA backend under the interface of the emulation: guarded, poisoned memory, on a real device."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from model_runtime.kernels.launch import Argument, Launch
from model_runtime.kernels.loader import CudaBackend

_GUARD_BYTES = 256
_CANARY = 0xFF


class GuardedGpu:
    """Runs launches on the first CUDA device, in memory that starts as NaN bytes between canaries."""

    def __init__(self) -> None:
        self._backend = CudaBackend(torch.device("cuda", 0))
        self.device = self._backend.device
        self.num_multiprocessors = self._backend.num_multiprocessors
        self._guarded: list[tuple[torch.Tensor, int]] = []

    def launch(self, launch: Launch, arguments: Sequence[Argument]) -> None:
        """Launch and wait, so that a failing kernel is named by the test that ran it."""
        self._backend.launch(launch, arguments)
        torch.cuda.synchronize(self.device)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Memory full of NaN bytes, between canaries."""
        size = math.prod(shape) * dtype.itemsize
        raw = torch.full((2 * _GUARD_BYTES + size + 16,), _CANARY, dtype=torch.uint8, device=self.device)
        self._guarded.append((raw, size))
        return raw[_GUARD_BYTES : _GUARD_BYTES + size].view(dtype).view(*shape)

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of `tensor` in guarded device memory."""
        placed = self.empty(tuple(tensor.shape), tensor.dtype)
        placed.copy_(tensor)
        return placed

    def counters(self, count: int) -> torch.Tensor:
        """The device's counters."""
        return self._backend.counters(count)

    def check_guards(self) -> None:
        """Raise AssertionError if a kernel wrote outside a tensor or left a counter that is not zero."""
        for raw, size in self._guarded:
            outside = torch.cat([raw[:_GUARD_BYTES], raw[_GUARD_BYTES + size :]])
            assert bool((outside == _CANARY).all()), f"a kernel wrote outside a tensor of {size} bytes"
        assert not self._backend.counters(1024).any(), "a kernel left a counter that is not zero"
