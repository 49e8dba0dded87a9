"""A tiny random checkpoint of a shape the kernels can run, and the fused network over it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from model_runtime.adapters import Adapter, LowRank
from model_runtime.checkpoint import open_checkpoint
from model_runtime.config import ModelConfig
from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.kernels import Kernels
from model_runtime.loading import Adapters, Placement, load_network
from model_runtime.vocabulary import tokenizer_json
from tests.support.tiny_model import tiny_config, tiny_vocabulary, tiny_weights

RANK = 4
PLAIN = Kernels(None, "reference")


def fused_config(num_layers: int = 2) -> ModelConfig:
    """The tiny model with heads the kernels have: 3 queries on 1 key/value head of 64."""
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_heads": 3, "num_kv_heads": 1, "head_dim": 64}
    return replace(tiny_config(num_layers), **shape)  # type: ignore[arg-type]


def write_fused_checkpoint(folder: Path, seed: int = 0) -> Path:
    """config.json, tokenizer.json and random weights; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = fused_config()
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer_json(tiny_vocabulary()), encoding="utf-8")
    save_file(tiny_weights(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def random_adapter(folder: Path, kind: str, size: float = 0.3) -> Adapter:
    """Factors for every linear of every layer, of rank 4: less than the kernels' multiple of 8."""
    generator = torch.Generator().manual_seed(5)
    with open_checkpoint(folder) as checkpoint:
        shapes = {name: checkpoint.shape(name) for name in checkpoint.names() if name.endswith("_proj.weight")}
    factors = {
        name: LowRank(
            torch.randn(RANK, shape[1], generator=generator) * size,
            torch.randn(shape[0], RANK, generator=generator) * size,
        )
        for name, shape in shapes.items()
    }
    embedding = torch.randn(fused_config().hidden_size, generator=generator) if kind == "mask" else None
    return Adapter(kind, RANK, 2.0, "", factors, {}, embedding)


def load(
    folder: Path,
    kernels: Kernels,
    precision: str = "bfloat16",
    *,
    mask: Adapter | None = None,
    healing: Adapter | None = None,
    device: str = "cpu",
) -> FusedNetwork:
    """The fused network over a checkpoint, on the CPU unless said otherwise."""
    placement = Placement(torch.device(device), precision)
    with open_checkpoint(folder) as checkpoint:
        found = load_network(checkpoint, placement, 512, Adapters(healing, mask), kernels=kernels)
    assert isinstance(found, FusedNetwork)
    return found
