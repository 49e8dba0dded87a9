"""Where a denoiser stage begins: from nothing, from a run of an earlier stage, or from an exported adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.adapters import EDIT_HEAD, MASK_EMBEDDING, read_adapter
from model_runtime.conversion import hash_file
from model_runtime.errors import CheckpointMismatch
from model_runtime.training.denoiser import Denoiser
from model_runtime.training.export import factor_pairs, read_checkpoint
from model_runtime.training.runs import CHECKPOINT


@dataclass(frozen=True, slots=True)
class Start:
    """An adapter to begin from."""

    digest: str
    """sha256 of the file it was read from."""
    stages: tuple[str, ...]
    rank: int
    alpha: float
    factors: Mapping[str, tuple[Tensor, Tensor]]
    whole: Mapping[str, Tensor]
    """Mask embedding, and the edit head where there is one."""

    @property
    def first_layer(self) -> int:
        """Lowest adapted layer."""
        return min(int(name.split(".")[2]) for name in self.factors)


def read_start(path: Path) -> Start:
    """Read a run's folder or an adapter file; CheckpointMissing without one, CheckpointMismatch for no denoiser."""
    if path.is_dir():
        document, parameters = read_checkpoint(path)
        config = document["config"]
        if MASK_EMBEDDING not in parameters:
            raise CheckpointMismatch(f"{path} is a run of another kind: it has no mask embedding")
        whole = {name: parameters.pop(name) for name in (MASK_EMBEDDING, EDIT_HEAD) if name in parameters}
        stages = (*config["earlier"], config["stage"])
        digest = hash_file(path / CHECKPOINT).sha256
        return Start(digest, stages, config["rank"], config["alpha"], factor_pairs(parameters), whole)
    adapter = read_adapter(path)
    if adapter.mask_embedding is None:
        raise CheckpointMismatch(f"{path} is a {adapter.kind} adapter: it has no mask embedding")
    whole = {MASK_EMBEDDING: adapter.mask_embedding}
    if adapter.edit_head is not None:
        whole[EDIT_HEAD] = adapter.edit_head
    factors = {name: (low_rank.a, low_rank.b) for name, low_rank in adapter.factors.items()}
    stages = tuple(adapter.metadata.get("stages", ("mask",)))
    return Start(hash_file(path).sha256, stages, adapter.rank, adapter.alpha, factors, whole)


def begin_from(denoiser: Denoiser, start: Start) -> None:
    """Set a fresh denoiser's parameters; CheckpointMismatch unless layers, rank and scale agree."""
    linears = dict(denoiser.network.adapted_linears())
    if set(linears) != set(start.factors):
        raise CheckpointMismatch("the adapter to start from adapts other layers than this run")
    if EDIT_HEAD in start.whole and denoiser.edit_head is None:
        denoiser.attach_edit_head()
    with torch.no_grad():
        for name, linear in linears.items():
            a, b = start.factors[name]
            assert linear.lora_a is not None and linear.lora_b is not None
            if linear.lora_a.shape != a.shape or linear.scale != start.alpha / start.rank:
                raise CheckpointMismatch(f"the adapter to start from has rank {start.rank}: {name} differs")
            linear.lora_a.copy_(a)
            linear.lora_b.copy_(b)
        denoiser.mask_embedding.copy_(start.whole[MASK_EMBEDDING])
        if denoiser.edit_head is not None and EDIT_HEAD in start.whole:
            denoiser.edit_head.copy_(start.whole[EDIT_HEAD])
