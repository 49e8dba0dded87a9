"""SwiGLU activation as one CUDA launch (`cuda/swiglu.cu`)."""

from __future__ import annotations

import numpy as np
import torch

from model_runtime.kernels.launch import Backend, Launch, check_multiple, check_tensor, divide_up, element_defines

_THREADS = 128


def swiglu(backend: Backend, gate_up: torch.Tensor) -> torch.Tensor:
    """See `reference.swiglu`. gate_up: [rows, 2 * width], width a multiple of 8; returns [rows, width]."""
    rows, double_width = gate_up.shape
    check_multiple("gate_up's last dimension", double_width, 16)
    check_tensor("gate_up", gate_up, (rows, double_width), gate_up.dtype, backend.device)
    width = double_width // 2
    out = backend.empty((rows, width), gate_up.dtype)
    launch = Launch(
        source="swiglu",
        kernel="swiglu",
        defines=element_defines(gate_up.dtype),
        grid=(divide_up(width, 8 * _THREADS), rows, 1),
        block=(_THREADS, 1, 1),
    )
    backend.launch(launch, [gate_up, out, np.int32(width)])
    return out
