"""Fixtures of the kernel tests: which backend runs the CUDA sources, and how results are compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda_emulation.backend import EmulationBackend, compiler


@pytest.fixture(params=[0, 1, 7], ids=["forward", "backward", "shuffled"])
def emulation(request: pytest.FixtureRequest) -> Iterator[EmulationBackend]:
    """The CPU emulation, under three orders of threads and blocks; guards are checked after the test."""
    if compiler() is None:
        pytest.skip("g++ is not installed: the CUDA sources cannot be run on the CPU")
    backend = EmulationBackend(schedule=request.param)
    yield backend
    backend.check_guards()


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Both activation types."""
    return request.param
