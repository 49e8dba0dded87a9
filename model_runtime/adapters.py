"""Low-rank adapters on disk, and merging one into base weights.

Owns the file format and the arithmetic `W += scale * B @ A`. It does not know how an adapter was trained (training/)
nor where the base comes from (checkpoint.py).

An adapter is one safetensors file. For each adapted linear, under its Hugging Face weight name:

    NAME.lora_a  (rank, in)  int8     NAME.lora_a_scale  (rank,) float32     row i is int8 row * scale[i]
    NAME.lora_b  (out, rank) int8     NAME.lora_b_scale  (out,)  float32

A `mask` adapter also has `mask_embedding` (V,) float32, what a masked position holds instead of a token; one that went
through stage edit has `edit_head` (2, V) float32, rows of the head for the answers `delete` and `insert`.

The header's metadata entry `adapter` is JSON: format, kind, rank, alpha, base (name), base_digest, and what else the
exporter wrote.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.checkpoint import refuse_unsafe
from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing

if TYPE_CHECKING:
    import torch

ADAPTER_FORMAT = 1
KINDS = ("healing", "mask")
METADATA_KEY = "adapter"
MASK_EMBEDDING = "mask_embedding"
EDIT_HEAD = "edit_head"

_WHOLE = (MASK_EMBEDDING, EDIT_HEAD)
_PARTS = ("lora_a", "lora_a_scale", "lora_b", "lora_b_scale")


@dataclass(frozen=True, slots=True)
class LowRank:
    """The two factors of one linear, dequantised: `a` (rank, in), `b` (out, rank), float32."""

    a: torch.Tensor
    b: torch.Tensor


@dataclass(frozen=True, slots=True)
class Adapter:
    """A read adapter."""

    kind: str
    """`healing` is merged into the weights; `mask` acts on masked positions only and is never merged."""
    rank: int
    alpha: float
    base_digest: str
    factors: Mapping[str, LowRank]
    """By Hugging Face weight name."""
    metadata: Mapping[str, Any]
    mask_embedding: torch.Tensor | None = None
    """`mask` only: (V,) float32."""
    edit_head: torch.Tensor | None = None
    """`mask` only, where it learned to judge visible tokens: (2, V) float32, for `delete` and `insert`."""
    digest: str = ""
    """sha256 of the file it was read from."""

    @property
    def scale(self) -> float:
        """What `B @ A` is multiplied by."""
        return self.alpha / self.rank


def adapter_paths(*folders: Path | None) -> dict[str, Path]:
    """Kind -> file of the adapters that belong to a model: from the first of these folders that has one."""
    found: dict[str, Path] = {}
    for kind in KINDS:
        paths = [path for folder in folders if folder and (path := folder / f"{kind}.safetensors").is_file()]
        if paths:
            found[kind] = paths[0]
    return found


def read_adapter(path: Path) -> Adapter:
    """Read an adapter file; CheckpointMissing, CheckpointUnsafe or CheckpointCorrupt naming the path."""
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointMissing(f"no adapter at {path}")
    refuse_unsafe(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            raw = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # SafetensorError is a bare Exception
        raise CheckpointCorrupt(f"{path} is not a readable adapter: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != ADAPTER_FORMAT:
        raise CheckpointCorrupt(f"{path} is not an adapter of format {ADAPTER_FORMAT}")
    try:
        return Adapter(
            kind=str(raw["kind"]),
            rank=int(raw["rank"]),
            alpha=float(raw["alpha"]),
            base_digest=str(raw["base_digest"]),
            factors=_factors(path, {n: t for n, t in tensors.items() if n not in _WHOLE}, int(raw["rank"])),
            metadata=raw,
            mask_embedding=tensors.get(MASK_EMBEDDING),
            edit_head=tensors.get(EDIT_HEAD),
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointCorrupt(f"{path}: adapter metadata is incomplete ({error})") from None


def _factors(path: Path, tensors: dict[str, torch.Tensor], rank: int) -> dict[str, LowRank]:
    names = sorted({name.rpartition(".")[0] for name in tensors})
    if sorted(tensors) != sorted(f"{name}.{part}" for name in names for part in _PARTS):
        raise CheckpointCorrupt(f"{path}: the tensors are not complete low-rank pairs")
    factors = {}
    for name in names:
        a, a_scale, b, b_scale = (tensors[f"{name}.{part}"] for part in _PARTS)
        if a.dim() != 2 or b.dim() != 2 or a.shape[0] != rank or b.shape[1] != rank:
            raise CheckpointCorrupt(f"{path}: {name} is not of rank {rank}: {list(a.shape)}, {list(b.shape)}")
        if tuple(a_scale.shape) != (rank,) or tuple(b_scale.shape) != (b.shape[0],):
            raise CheckpointCorrupt(f"{path}: {name} has scales of shape {list(a_scale.shape)}, {list(b_scale.shape)}")
        factors[name] = LowRank(a.float() * a_scale.float()[:, None], b.float() * b_scale.float()[:, None])
    return factors


def merge_into(state: MutableMapping[str, torch.Tensor], adapter: Adapter) -> None:
    """Replace each adapted weight of `state` by `W + scale * B @ A`, in its own type; CheckpointMismatch by name.

    The sum is made in float32 and rounded once. Nothing is changed when any weight does not fit.
    """
    if adapter.kind == "mask":
        raise CheckpointMismatch("a mask adapter acts on masked positions only: it cannot be merged into the weights")
    for name, low_rank in adapter.factors.items():
        shape = (low_rank.b.shape[0], low_rank.a.shape[1])
        if name not in state:
            raise CheckpointMismatch(f"the adapter changes {name!r}, which this model does not have")
        if tuple(state[name].shape) != shape:
            raise CheckpointMismatch(
                f"the adapter changes {name!r} of shape {list(shape)}, this model's is {list(state[name].shape)}"
            )
    for name in adapter.factors:
        state[name] = merged_weight(state[name], adapter, name)


def merged_weight(weight: torch.Tensor, adapter: Adapter, name: str) -> torch.Tensor:
    """One weight with its part of the adapter added, in the weight's own type; the weight itself where it has none."""
    low_rank = adapter.factors.get(name)
    if low_rank is None:
        return weight
    return (weight.float() + adapter.scale * (low_rank.b @ low_rank.a)).to(weight.dtype)
