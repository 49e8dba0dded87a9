"""swiglu: the CUDA source under emulation against the reference."""

from __future__ import annotations

import pytest
import torch

from model_runtime.kernels import reference
from model_runtime.kernels.swiglu import swiglu
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import assert_close, random


@pytest.mark.parametrize("rows, width", [(1, 8), (5, 1032), (3, 4864)])
def test_equals_reference(emulation: EmulationBackend, dtype: torch.dtype, rows: int, width: int) -> None:
    gate_up = emulation.place(random(rows, 2 * width, dtype=dtype, spread=4))
    assert_close(swiglu(emulation, gate_up), reference.swiglu(gate_up), dtype)


def test_extreme_gates(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    gate = torch.tensor([-6e4, -100.0, -20.0, 0.0, 20.0, 100.0, 3e4, 1.0])
    gate_up = emulation.place(torch.cat([gate, torch.ones(8)])[None].to(dtype))
    assert_close(swiglu(emulation, gate_up), reference.swiglu(gate_up), dtype)


def test_refuses_ragged_width() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        swiglu(EmulationBackend(), torch.zeros(1, 24, dtype=torch.bfloat16))
