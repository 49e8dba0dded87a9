"""Damage to a published folder is named in every layout, when it is imported and when it is opened."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_runtime.config import RuntimeConfig
from model_runtime.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    CheckpointMissing,
    CheckpointUnsafe,
)
from model_runtime.install import import_checkpoint
from model_runtime.runtime import Runtime
from tests.families.published import CHECKPOINTS, write_published


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "truncated", "cut index", "pickle", "vocabulary"])
@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_damage_is_named_in_every_layout(name: str, damage: str, tmp_path: Path) -> None:
    folder = write_published(name, tmp_path)
    error, says = hurt_any(folder, damage)
    with pytest.raises(error, match=says):
        Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=64))
    with pytest.raises(error, match=says):
        import_checkpoint(folder, "mine", tmp_path / "home")
    assert not (tmp_path / "home" / "models" / "mine").exists()


def hurt_any(folder: Path, damage: str) -> tuple[type[CheckpointError], str]:
    """Damage that every layout can have, done to a matrix of the last layer; the error and what it says."""
    index = folder / "model.safetensors.index.json"
    raw, weight_map = json.loads((folder / "config.json").read_text()), json.loads(index.read_text())
    name = max(each for each in weight_map["weight_map"] if "down_proj" in each or ".1.ff_out" in each)
    shard = folder / weight_map["weight_map"][name]
    tensors = load_file(shard)
    if damage == "missing":
        del tensors[name], weight_map["weight_map"][name]
    elif damage == "extra":
        tensors["model.another.weight"] = torch.ones(2)
        weight_map["weight_map"]["model.another.weight"] = shard.name
    elif damage == "shape":
        tensors[name] = tensors[name][:-1].clone()
    elif damage == "cut index":
        shard.rename(folder / "elsewhere")
    elif damage == "vocabulary":
        size = "embedding_size" if "embedding_size" in raw else "vocab_size"
        raw[size] = 280
        for part in folder.glob("*.safetensors"):
            cut = {n: t[:280].clone() if t.shape[0] == 300 else t for n, t in load_file(part).items()}
            save_file(cut, part, metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(raw))
        return CheckpointMismatch, r"the vocabulary has 28\d ids, the embedding 280 rows"
    if damage != "cut index":
        save_file(tensors, shard, metadata={"format": "pt"})
    index.write_text(json.dumps(weight_map))
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "pickle":
        shard.write_bytes(b"\x80\x04\x95rest of a pickle")
    return {
        "missing": (CheckpointMismatch, f"tensor '{re.escape(name)}' is missing"),
        "extra": (CheckpointMismatch, r"unexpected tensor 'model\.another\.weight' of shape \[2\]"),
        "shape": (CheckpointMismatch, f"tensor '{re.escape(name)}' has shape"),
        "truncated": (CheckpointCorrupt, shard.name),
        "cut index": (CheckpointMissing, shard.name),
        "pickle": (CheckpointUnsafe, "pickle"),
    }[damage]


@pytest.mark.parametrize(
    ("mask", "says"), [(70, "mask token 70 is the text 'F'"), (151666, "mask token 151666 is outside the 300 rows")]
)
@pytest.mark.parametrize("name", sorted(name for name in CHECKPOINTS if name not in ("llama", "qwen3")))
def test_a_wrong_mask_is_refused_in_every_family(name: str, mask: int, says: str, tmp_path: Path) -> None:
    folder = write_published(name, tmp_path, mask_token_id=mask)
    with pytest.raises(CheckpointMismatch, match=says):
        Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=64))
    with pytest.raises(CheckpointMismatch, match=says):
        import_checkpoint(folder, "mine", tmp_path / "home")
