"""Whether a model runs through the kernels on this device, and if so the network that does.

Owns that decision and its one log line. Reading and merging weights is the caller's.
"""

from __future__ import annotations

import logging
from typing import Protocol

import torch

from model_runtime.config import ModelConfig
from model_runtime.cuda_path.graphs import Capture, CudaCapture
from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.kernels import Kernels, load_kernels
from model_runtime.models.fused_qwen2 import FusedQwen2, WeightFormat, why_unsupported
from model_runtime.models.qwen2 import Denoiser, ReadTensor

_LOG = logging.getLogger(__name__)

_FORMATS: dict[str, WeightFormat] = {"bfloat16": "dense", "float16": "dense", "int8": "int8", "int4": "int4"}
"""Precision -> how the kernels' linears are stored. float32 is not among them."""


class Placed(Protocol):
    """Where a network runs and in what; loading.py's `Placement`."""

    @property
    def device(self) -> torch.device: ...

    @property
    def precision(self) -> str: ...

    @property
    def use_kernels(self) -> bool: ...


def load_fused(
    config: ModelConfig,
    read: ReadTensor,
    placement: Placed,
    num_positions: int,
    denoiser: Denoiser | None = None,
    kernels: Kernels | None = None,
) -> FusedNetwork | None:
    """The network over the CUDA kernels, or None, with one log line, where plain torch has to serve.

    `kernels`: an operation table to use as it is, on any device (validation: kernels of another backend, references).
    """
    weights, device = _FORMATS.get(placement.precision), placement.device
    if weights is None:
        return None
    dtype = torch.float16 if placement.precision == "float16" else torch.bfloat16
    if kernels is None:
        kernels = load_kernels(device, dtype, placement.use_kernels)
        if not kernels.are_active:
            return None  # load_kernels has said why
    if (reason := why_unsupported(config, weights)) is not None:
        _LOG.warning("CUDA kernels are off: they cannot run %s", reason)
        return None
    model = FusedQwen2(
        config,
        read,
        kernels,
        weights=weights,
        num_positions=num_positions,
        dtype=dtype,
        device=device,
        denoiser=denoiser,
    )
    return FusedNetwork(model, _capture(kernels, device))


def _capture(kernels: Kernels, device: torch.device) -> Capture | None:
    """Graphs need every operation on the device: a reference asks the host how many rows there are."""
    left = [name for name, operation in kernels.operations.items() if not operation.is_kernel]
    if device.type != "cuda":
        return None
    if left:
        _LOG.warning("CUDA graphs are off: %s runs in plain torch", left[0])
        return None
    return CudaCapture(device)
