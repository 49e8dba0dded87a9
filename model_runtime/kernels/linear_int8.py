"""Linear layer over 8-bit weights for a few rows, as one CUDA launch (`cuda/linear_int8.cu`)."""

from __future__ import annotations

import torch

from model_runtime.kernels.formats import Int8Weight, LowRank
from model_runtime.kernels.launch import Backend, check_tensor
from model_runtime.kernels.linear import run_linear


def linear_int8(
    backend: Backend,
    x: torch.Tensor,
    weight: Int8Weight,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `reference.linear_int8`. x: [rows, in], in a multiple of 16; returns [rows, out]."""
    num_out = weight.values.shape[0]
    check_tensor("weight.values", weight.values, (num_out, x.shape[1]), torch.int8, backend.device)
    check_tensor("weight.scales", weight.scales, (num_out,), torch.float32, backend.device, alignment=4)
    return run_linear(backend, "linear_int8", 8, x, [weight.values, weight.scales], num_out, bias, adapter, gate)
