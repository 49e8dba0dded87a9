"""Canvas edits on the device: mask again, insert, delete (`cuda/canvas.cu`)."""

from __future__ import annotations

import numpy as np
import torch

from model_runtime.kernels.launch import Backend, Launch, check_tensor, divide_up

_MAX_CAPACITY = 32768
_DEFINES = (("SEEDLS_BF16", 1),)
"""Canvas kernels touch no activation; any element type will do, so one is compiled."""


def _check_canvas(backend: Backend, length: torch.Tensor, **arrays: torch.Tensor) -> int:
    capacity = len(arrays["ids"])
    if not 1 <= capacity <= _MAX_CAPACITY:
        raise ValueError(f"the canvas holds {capacity} positions, expected 1 to {_MAX_CAPACITY}")
    for name, array in arrays.items():
        dtype = torch.float32 if name == "probabilities" else torch.int32
        check_tensor(name, array, (capacity,), dtype, backend.device, alignment=4)
    check_tensor("length", length, (1,), torch.int32, backend.device, alignment=4)
    return capacity


def canvas_renoise(
    backend: Backend,
    ids: torch.Tensor,
    probabilities: torch.Tensor,
    length: torch.Tensor,
    mask_id: int,
    threshold: float,
) -> torch.Tensor:
    """See `reference.canvas_renoise`."""
    capacity = _check_canvas(backend, length, ids=ids, probabilities=probabilities)
    out = backend.empty((capacity,), torch.int32)
    launch = Launch("canvas", "canvas_renoise", _DEFINES, (divide_up(capacity, 256), 1, 1), (256, 1, 1))
    scalars = [np.int32(capacity), np.int32(mask_id), np.float32(threshold)]
    backend.launch(launch, [ids, probabilities, length, out, *scalars])
    return out


def canvas_rebuild(
    backend: Backend,
    ids: torch.Tensor,
    num_insert: torch.Tensor,
    is_deleted: torch.Tensor,
    length: torch.Tensor,
    mask_id: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `reference.canvas_rebuild`."""
    capacity = _check_canvas(backend, length, ids=ids, num_insert=num_insert, is_deleted=is_deleted)
    out, source = (backend.empty((capacity,), torch.int32) for _ in range(2))
    new_length = backend.empty((1,), torch.int32)
    launch = Launch("canvas", "canvas_rebuild", _DEFINES, (1, 1, 1), (1024, 1, 1))
    tensors = [ids, num_insert, is_deleted, length, out, source, new_length]
    backend.launch(launch, [*tensors, np.int32(capacity), np.int32(mask_id)])
    return out, source, new_length


def canvas_insert(
    backend: Backend, ids: torch.Tensor, num_insert: torch.Tensor, length: torch.Tensor, mask_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `reference.canvas_insert`."""
    return canvas_rebuild(backend, ids, num_insert, torch.zeros_like(ids), length, mask_id)


def canvas_delete(
    backend: Backend, ids: torch.Tensor, is_deleted: torch.Tensor, length: torch.Tensor, mask_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `reference.canvas_delete`."""
    return canvas_rebuild(backend, ids, torch.zeros_like(ids), is_deleted, length, mask_id)
