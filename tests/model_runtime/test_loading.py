"""Placement and adapters at load: bad choices are named, a merged adapter is the sum it says, off gives the base."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from model_runtime import CheckpointMissing, RequestError, Runtime, RuntimeConfig
from model_runtime.adapters import Adapter, LowRank
from model_runtime.checkpoint import open_checkpoint
from model_runtime.loading import Adapters, choose_placement, load_network
from model_runtime.training.export import write_adapter
from tests.support.tiny_model import write_tiny_checkpoint

TARGET = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "tiny")


def test_auto_means_int8_on_a_cpu() -> None:
    placement = choose_placement(RuntimeConfig(device="cpu"))
    assert (placement.precision, placement.dtype) == ("int8", torch.float32)


@pytest.mark.parametrize(("device", "named"), [("gpu", "'gpu'"), ("mps", "'mps'"), ("cuda", "sees no CUDA device")])
def test_a_device_that_cannot_be_had_is_named(device: str, named: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(RequestError, match=named):
        choose_placement(RuntimeConfig(device=device))


def test_threads_below_one_are_refused(folder: Path) -> None:
    with pytest.raises(RequestError, match="threads is 0"):
        Runtime.load(RuntimeConfig(model=str(folder), device="cpu", threads=0))


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="nowhere"):
        Runtime.load(RuntimeConfig(model=str(tmp_path / "nowhere"), device="cpu"))


def test_progress_ends_at_one(folder: Path) -> None:
    seen: list[float] = []
    config = RuntimeConfig(model=str(folder), device="cpu")
    Runtime.load(config, lambda message, fraction: seen.append(fraction)).close()
    assert seen[-1] == 1.0
    assert all(0.0 <= fraction <= 1.0 for fraction in seen)


def test_a_merged_adapter_changes_the_logits_and_none_gives_the_base(folder: Path) -> None:
    placement, ids = choose_placement(RuntimeConfig(device="cpu", precision="float32")), torch.arange(9)
    generator = torch.Generator().manual_seed(1)
    with open_checkpoint(folder) as checkpoint:
        out, inner = checkpoint.shape(TARGET)
        low_rank = LowRank(torch.randn(4, inner, generator=generator), torch.randn(out, 4, generator=generator))
        adapter = Adapter("healing", 4, 8.0, "", {TARGET: low_rank}, {})
        base, merged = (load_network(checkpoint, placement, 64, each) for each in (None, Adapters(adapter)))
        again = load_network(checkpoint, placement, 64)
    logits = [net.logits(net.forward(ids, net.new_cache(64))) for net in (base, merged, again)]
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)
    assert torch.equal(logits[0], logits[2])


def test_a_report_names_the_adapter_by_its_file(folder: Path) -> None:
    bare = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32"))
    assert bare.info.provenance()["adapters"] == {}
    shape = open_checkpoint(folder).shape(TARGET)
    about = {"kind": "healing", "rank": 2, "alpha": 4.0, "base": "tiny", "base_digest": ""}
    path = folder / "healing.safetensors"
    write_adapter(path, {TARGET: (torch.ones(2, shape[1]), torch.ones(shape[0], 2))}, about)
    healed = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32"))
    assert healed.info.provenance()["adapters"] == {"healing": hashlib.sha256(path.read_bytes()).hexdigest()}
