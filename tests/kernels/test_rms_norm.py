"""rms_norm: the CUDA source under emulation against the reference."""

from __future__ import annotations

import pytest
import torch

from model_runtime.kernels import reference
from model_runtime.kernels.rms_norm import rms_norm
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import assert_close, random


@pytest.mark.parametrize("rows", [1, 3, 9])
@pytest.mark.parametrize("hidden", [8, 64, 896, 1536])
@pytest.mark.parametrize("has_residual", [False, True])
def test_equals_reference(
    emulation: EmulationBackend, dtype: torch.dtype, rows: int, hidden: int, has_residual: bool
) -> None:
    x = emulation.place(random(rows, hidden, dtype=dtype, spread=3))
    weight = emulation.place(random(hidden, dtype=dtype, seed=1))
    residual = emulation.place(random(rows, hidden, dtype=dtype, seed=2)) if has_residual else None
    normed, summed = rms_norm(emulation, x, weight, 1e-6, residual)
    expected_normed, expected_summed = reference.rms_norm(x, weight, 1e-6, residual)
    assert_close(normed, expected_normed, dtype)
    assert torch.equal(summed, expected_summed)


def test_zero_row_stays_finite(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    x = emulation.place(torch.zeros(2, 64, dtype=dtype))
    normed, _ = rms_norm(emulation, x, emulation.place(torch.ones(64, dtype=dtype)), 1e-6)
    assert torch.equal(normed, torch.zeros_like(x))


@pytest.mark.parametrize("hidden, message", [(12, "multiple of 8"), (8200, "at most 8192")])
def test_refuses_widths_it_cannot_do(hidden: int, message: str) -> None:
    x = torch.zeros(1, hidden, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=message):
        rms_norm(EmulationBackend(), x, torch.zeros(hidden, dtype=torch.bfloat16), 1e-6)


def test_refuses_misaligned_and_strided_views() -> None:
    emulation = EmulationBackend()
    weight = torch.zeros(64, dtype=torch.bfloat16)
    shifted = torch.zeros(1 + 2 * 64, dtype=torch.bfloat16)[1:].view(2, 64)
    with pytest.raises(ValueError, match="multiple of 16 bytes"):
        rms_norm(emulation, shifted, weight, 1e-6)
    with pytest.raises(ValueError, match="contiguous"):
        rms_norm(emulation, torch.zeros(2, 128, dtype=torch.bfloat16)[:, :64], weight, 1e-6)
    with pytest.raises(ValueError, match="bfloat16 or float16"):
        rms_norm(emulation, torch.zeros(2, 64), torch.zeros(64), 1e-6)
