"""RMSNorm with an optional residual added first, as one CUDA launch (`cuda/rms_norm.cu`)."""

from __future__ import annotations

import numpy as np
import torch

from model_runtime.kernels.launch import Backend, Launch, check_multiple, check_tensor, divide_up, element_defines

_MAX_HIDDEN = 8192
"""1024 threads of 8 values each."""


def rms_norm(
    backend: Backend, x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `reference.rms_norm`. x, residual: [rows, hidden]; returns (normed, summed)."""
    rows, hidden = x.shape
    check_multiple("hidden", hidden, 8)
    if hidden > _MAX_HIDDEN:
        raise ValueError(f"hidden is {hidden}, expected at most {_MAX_HIDDEN}")
    check_tensor("x", x, (rows, hidden), x.dtype, backend.device)
    check_tensor("weight", weight, (hidden,), x.dtype, backend.device)
    if residual is not None:
        check_tensor("residual", residual, (rows, hidden), x.dtype, backend.device)
    normed = backend.empty((rows, hidden), x.dtype)
    summed = x if residual is None else backend.empty((rows, hidden), x.dtype)
    launch = Launch(
        source="rms_norm",
        kernel="rms_norm",
        defines=element_defines(x.dtype),
        grid=(rows, 1, 1),
        block=(32 * divide_up(hidden, 256), 1, 1),
    )
    backend.launch(launch, [x, residual, weight, normed, summed, np.int32(hidden), np.float32(eps)])
    return normed, summed
