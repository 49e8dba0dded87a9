"""Commit of a denoising step and the rows of the next one, as one CUDA launch (`cuda/commit_run.cu`)."""

from __future__ import annotations

import numpy as np
import torch

from model_runtime.kernels.launch import Backend, Launch, check_state, check_tensor
from model_runtime.kernels.reference import StepMemory

_DEFINES = (("SEEDLS_BF16", 1),)
"""No activation is touched; any element type will do, so one is compiled."""


def commit_run(
    backend: Backend,
    tokens: torch.Tensor,
    probabilities: torch.Tensor,
    current_probabilities: torch.Tensor,
    step: StepMemory,
    capacity: int,
    mask_id: int,
) -> None:
    """See `reference.commit_run`."""
    (rows,) = tokens.shape
    device, integer, real = backend.device, torch.int32, torch.float32
    check_tensor("tokens", tokens, (rows,), integer, device, alignment=4)
    check_tensor("probabilities", probabilities, (rows,), real, device, alignment=4)
    check_tensor("current_probabilities", current_probabilities, (rows,), real, device, alignment=4)
    check_tensor("step.ids", step.ids, (rows,), integer, device, alignment=4)
    check_tensor("step.judged", step.judged, (rows,), integer, device, alignment=4)
    check_tensor("step.gate", step.gate, (rows,), real, device, alignment=4)
    check_tensor("step.accept", step.accept, (1,), real, device, alignment=4)
    check_tensor("step.result", step.result, (4 + 3 * rows,), integer, device, alignment=4)
    check_state(step.state, device)
    launch = Launch("commit_run", "commit_run", _DEFINES, (1, 1, 1), (256, 1, 1))
    memory = [step.ids, step.judged, step.gate, step.state, step.accept, step.result]
    sizes = [np.int32(value) for value in (rows, capacity, mask_id)]
    backend.launch(launch, [tokens, probabilities, current_probabilities, *memory, *sizes])
