"""What a kernel wrapper needs from whoever runs its kernel: a launch description, a backend, argument checks.

Owns the `Backend` protocol (CuPy on a GPU in loader.py; the tests' CPU emulation of the same sources) and the checks
that turn a wrong shape, type, stride or alignment into a ValueError before a kernel can read out of bounds. Knows no
operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

SOURCE_FOLDER = Path(__file__).parent / "cuda"
MAX_ROWS = 128
"""Most rows one launch of a linear layer or of the head takes; linear layers go through more in several launches."""
ALIGNMENT = 16
"""Bytes: kernels move 16 at a time."""

Argument = torch.Tensor | np.generic | None
"""A tensor passes its data pointer, a numpy scalar its own bytes, None a null pointer."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch: which source, which compile parameters, what shape."""

    source: str
    """File name in `cuda/` without `.cu`; the entry point is `<kernel>_kernel`."""
    kernel: str
    defines: tuple[tuple[str, int], ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int = 0


class Backend(Protocol):
    """Runs launches on one device. Not thread-safe: one thread owns the device."""

    device: torch.device
    num_multiprocessors: int

    def launch(self, launch: Launch, arguments: Sequence[Argument]) -> None:
        """Queue the kernel on the current stream; raises KernelError if it cannot be compiled or launched."""

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Uninitialised memory for a result or a workspace."""

    def counters(self, count: int) -> torch.Tensor:
        """int32 zeros that every kernel leaves at zero."""


class KernelError(RuntimeError):
    """A kernel could not be compiled or launched."""


def element_defines(dtype: torch.dtype) -> tuple[tuple[str, int], ...]:
    """Compile parameters for an activation type; raises ValueError for anything but bfloat16 and float16."""
    if dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(f"kernels compute in bfloat16 or float16, not {dtype}")
    return (("SEEDLS_BF16", int(dtype == torch.bfloat16)),)


def check_tensor(
    name: str,
    tensor: torch.Tensor,
    shape: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    alignment: int = ALIGNMENT,
) -> None:
    """Raise ValueError naming the tensor unless it is contiguous, aligned, and of this shape, type and device."""
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
    if tensor.dtype != dtype:
        raise ValueError(f"{name} is {tensor.dtype}, expected {dtype}")
    if tensor.device.type != device.type or tensor.device.index not in (device.index, None):
        raise ValueError(f"{name} is on {tensor.device}, expected {device}")
    if not tensor.is_contiguous():
        raise ValueError(f"{name} has strides {tensor.stride()}, expected a contiguous tensor")
    if tensor.data_ptr() % alignment:
        raise ValueError(f"{name} starts at an address that is not a multiple of {alignment} bytes")


def check_rows(name: str, rows: int) -> None:
    """Raise ValueError unless 1 <= rows <= MAX_ROWS."""
    if not 1 <= rows <= MAX_ROWS:
        raise ValueError(f"{name} has {rows} rows, expected 1 to {MAX_ROWS}")


def check_multiple(name: str, value: int, factor: int) -> None:
    """Raise ValueError unless `factor` divides the positive `value`."""
    if value <= 0 or value % factor:
        raise ValueError(f"{name} is {value}, expected a positive multiple of {factor}")


def check_state(state: torch.Tensor, device: torch.device) -> None:
    """The forward's int32 [3] = (tokens in the cache, causal rows, rows), on the device."""
    check_tensor("state", state, (3,), torch.int32, device, alignment=4)


def divide_up(value: int, divisor: int) -> int:
    """Ceiling division."""
    return -(-value // divisor)
