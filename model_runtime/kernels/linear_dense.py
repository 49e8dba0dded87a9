"""Linear layer over 16-bit weights for a few rows, as one CUDA launch (`cuda/linear_dense.cu`)."""

from __future__ import annotations

import torch

from model_runtime.kernels.formats import LowRank
from model_runtime.kernels.launch import Backend, check_tensor
from model_runtime.kernels.linear import run_linear


def linear_dense(
    backend: Backend,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `reference.linear_dense`. x: [rows, in], in a multiple of 8; weight: [out, in]; returns [rows, out]."""
    num_out = weight.shape[0]
    check_tensor("weight", weight, (num_out, x.shape[1]), x.dtype, backend.device)
    return run_linear(backend, "linear_dense", 16, x, [weight], num_out, bias, adapter, gate)
