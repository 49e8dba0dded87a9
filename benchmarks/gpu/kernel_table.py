"""One operation at one size: its error against the reference, its time, its floor."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from benchmarks.gpu.cases import Case
from benchmarks.gpu.timing import time_captured
from model_runtime.kernels import Kernels


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the kernel table. Times are None in a rehearsal."""

    operation: str
    detail: str
    rows: int
    error: float
    is_right: bool
    megabytes: float
    floor_us: float | None = None
    kernel_us: float | None = None
    torch_us: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured time over the floor."""
        return self.kernel_us / self.floor_us if self.kernel_us and self.floor_us else None


def relative_error(actual: object, expected: object) -> float:
    """Largest relative 2-norm error over the results of an operation."""
    if isinstance(actual, tuple) and isinstance(expected, tuple):
        return max(relative_error(a, e) for a, e in zip(actual, expected, strict=True))
    assert isinstance(actual, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    if not bool(torch.isfinite(actual.float()).all()):
        return float("inf")
    difference = (actual.double() - expected.double()).norm()
    return float(difference / expected.double().norm().clamp_min(1e-30))


def measure(case: Case, kernels: Kernels, plain: Kernels, rows: int, bandwidth: float | None) -> Row:
    """Check a case on its first inputs, then time it over all of them."""
    first = case.input_sets[0]
    error = relative_error(case.run(kernels, first), case.run(plain, first))
    row = Row(case.operation, case.detail, rows, error, error <= case.tolerance, case.num_bytes / 1e6)
    if bandwidth is None:
        return row
    kernel = time_captured([lambda given=given: case.run(kernels, given) for given in case.input_sets])
    times = {"floor_us": case.num_bytes / bandwidth * 1e6, "kernel_us": kernel.median, "torch_us": time_plain(case)}
    return Row(**{**asdict(row), **times})


def time_plain(case: Case) -> float | None:
    """The same layer by torch's own kernels, where torch has one of the same kind."""
    if case.operation != "linear_dense":
        return None
    calls = [lambda given=given: torch.nn.functional.linear(given[0], given[1]) for given in case.input_sets]
    return time_captured(calls).median
