"""Fixtures of the kernel tests: which backend runs the CUDA sources, and how results are compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda_emulation.backend import EmulationBackend, compiler
from tests.kernels.guarded_gpu import GuardedGpu

SCHEDULES = {"forward": 0, "backward": 1, "shuffled": 7}
"""Orders of threads and blocks under emulation: a missing barrier changes the result under at least one."""


@pytest.fixture(params=[*SCHEDULES, pytest.param("gpu", marks=pytest.mark.gpu)])
def emulation(request: pytest.FixtureRequest) -> Iterator[EmulationBackend | GuardedGpu]:
    """The CPU emulation under three orders, and the GPU where there is one; guards are checked after the test."""
    if request.param == "gpu":
        device = GuardedGpu()
        yield device
        device.check_guards()
        return
    if compiler() is None:
        pytest.skip("g++ is not installed: the CUDA sources cannot be run on the CPU")
    backend = EmulationBackend(schedule=SCHEDULES[request.param])
    yield backend
    backend.check_guards()


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both activation types."""
    return request.param
