"""Linear layer over 4-bit weights for a few rows, as one CUDA launch (`cuda/linear_int4.cu`)."""

from __future__ import annotations

import torch

from model_runtime.kernels.formats import INT4_GROUP, Int4Weight, LowRank
from model_runtime.kernels.launch import Backend, check_multiple, check_tensor
from model_runtime.kernels.linear import run_linear


def linear_int4(
    backend: Backend,
    x: torch.Tensor,
    weight: Int4Weight,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `reference.linear_int4`. x: [rows, in], in a multiple of 32; returns [rows, out]."""
    num_out, num_in = weight.packed.shape[0], x.shape[1]
    check_multiple("the layer's input width", num_in, INT4_GROUP)
    check_tensor("weight.packed", weight.packed, (num_out, num_in // 8), torch.int32, backend.device)
    check_tensor("weight.scales", weight.scales, (num_out, num_in // INT4_GROUP), x.dtype, backend.device, alignment=2)
    return run_linear(backend, "linear_int4", 4, x, [weight.packed, weight.scales], num_out, bias, adapter, gate)
