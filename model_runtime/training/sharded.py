"""Tensors that may be spread over processes, for an optimisation loop that does not care.

Without a process group every function is the plain operation.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn


def is_spread() -> bool:
    """True inside a group of several processes."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def is_first() -> bool:
    """True for the process that writes files and notes."""
    return not is_spread() or distributed.get_rank() == 0


def least(value: float) -> float:
    """The smallest of the processes' values: what depends on a clock or a signal has to be decided together."""
    if not is_spread():
        return value
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MIN)
    return float(shared)


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from its shards; every process of the group has to ask for it."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def like(value: Tensor, example: Tensor) -> Tensor:
    """A whole tensor, placed and spread as `example` is."""
    if not _is_sharded(example):
        return value.to(example.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(example.device), example.device_mesh, example.placements)  # type: ignore[attr-defined]


def groups(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Sharded and whole parameters apart: one optimiser operation cannot take both."""
    parts: dict[bool, list[nn.Parameter]] = {}
    for parameter in parameters:
        parts.setdefault(_is_sharded(parameter), []).append(parameter)
    return list(parts.values())


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of whole parameters over the group; sharded ones were averaged as they were reduced."""
    if not is_spread():
        return
    for parameter in parameters:
        if parameter.grad is not None and not _is_sharded(parameter):
            distributed.all_reduce(parameter.grad)
            parameter.grad /= distributed.get_world_size()


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale all gradients down to a joint norm of at most `limit`; returns the norm before."""
    parts = groups(parameters)
    norms = [whole(nn.utils.get_total_norm([p.grad for p in part if p.grad is not None])) for part in parts]
    norm = torch.stack([each.float() for each in norms]).norm()
    for part in parts:
        nn.utils.clip_grads_with_norm_(part, limit, norm)
    return float(norm)


def _is_sharded(tensor: Tensor) -> bool:
    if not is_spread():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
