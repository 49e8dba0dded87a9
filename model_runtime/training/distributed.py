"""Several GPUs: `torchrun` starts a process each, FSDP2 shards weights, gradients and optimiser between them.

Every process draws sequences of its own, gradients are averaged, and the step is one step. The first process alone
writes checkpoints, cards and notes. Without `torchrun` nothing here does anything. FSDP: Zhao et al. 2023,
arXiv 2304.11277; the per-parameter form is torch's `fully_shard`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from model_runtime.training.denoiser import Denoiser
from model_runtime.training.network import Layer


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its peers."""

    rank: int = 0
    count: int = 1


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """Join the group that `torchrun` set up (gloo on CPUs, nccl on GPUs); a lone process otherwise."""
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    from torch import distributed

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def shard(denoiser: Denoiser, ranks: Ranks, device: str) -> None:
    """Shard the frozen weights and the adapter of every layer, in place; nothing for a lone process.

    What is outside the layers (embedding, mask embedding, edit head) is small beside them or shared, and stays whole.
    Every process must run its layers equally often in a step: stages mask and edit do, order and onpolicy do not.
    """
    if ranks.count < 2:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device, (ranks.count,))
    for layer in denoiser.network.layers:
        assert isinstance(layer, Layer)
        _freeze_into_parameters(layer)
        fully_shard(layer, mesh=mesh)


def _freeze_into_parameters(layer: Layer) -> None:
    """FSDP shards parameters and leaves buffers alone: the base's weights become parameters that never learn."""
    for module in layer.linears.values():
        for name in ("weight", "bias"):
            buffer = module._buffers.get(name)
            if buffer is not None:
                del module._buffers[name]
                setattr(module, name, nn.Parameter(buffer, requires_grad=False))
