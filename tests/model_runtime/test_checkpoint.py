"""Checkpoint folders: what opens, what is refused, and that damage is always one of our errors."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from model_runtime.checkpoint import INDEX_FILE, WEIGHTS_FILE, expected_shapes, open_checkpoint
from model_runtime.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    CheckpointMissing,
    CheckpointUnsafe,
)
from tests.support.tiny_model import tiny_config, tiny_weights, write_tiny_checkpoint, write_tiny_gguf


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "tiny")


@pytest.mark.parametrize("num_shards", [1, 3])
def test_reads_every_tensor_single_and_sharded(tmp_path: Path, num_shards: int) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny", num_shards=num_shards)
    expected = tiny_weights(tiny_config())
    with open_checkpoint(folder) as checkpoint:
        checkpoint.verify_shapes()
        assert checkpoint.names() == sorted(expected)
        for name, tensor in expected.items():
            assert torch.equal(checkpoint.read(name), tensor)
        rows = checkpoint.read_rows("model.embed_tokens.weight", 5, 9)
        assert torch.equal(rows, expected["model.embed_tokens.weight"][5:9])


def test_a_tensor_outlives_its_checkpoint(tiny: Path) -> None:
    with open_checkpoint(tiny) as checkpoint:
        tensor = checkpoint.read("model.norm.weight")
    assert torch.equal(tensor, tiny_weights(tiny_config())["model.norm.weight"])


def test_opens_a_file_beside_its_config(tiny: Path) -> None:
    with open_checkpoint(tiny / WEIGHTS_FILE) as checkpoint:
        checkpoint.verify_shapes()


def test_opens_gguf_by_content(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    with open_checkpoint(path.rename(tmp_path / "weights.bin")) as checkpoint:
        checkpoint.verify_shapes()


def test_expected_shapes_are_those_of_transformers() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = tiny_config()
    raw = {key: value for key, value in config.to_dict().items() if key not in ("architectures", "torch_dtype")}
    reference = Qwen2ForCausalLM(Qwen2Config(**raw)).state_dict()
    reference.pop("lm_head.weight")  # tied
    assert {name: tuple(tensor.shape) for name, tensor in reference.items()} == expected_shapes(config)


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="nowhere"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointMissing, match=r"no model\.safetensors"):
        open_checkpoint(tmp_path)


def test_missing_config(tiny: Path) -> None:
    (tiny / "config.json").unlink()
    with pytest.raises(CheckpointMissing, match=r"config\.json"):
        open_checkpoint(tiny)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", '"qwen2"'])
def test_unreadable_config(tiny: Path, text: str) -> None:
    (tiny / "config.json").write_text(text)
    with pytest.raises(CheckpointCorrupt, match=r"config\.json"):
        open_checkpoint(tiny)


def test_unknown_architecture(tiny: Path) -> None:
    raw = json.loads((tiny / "config.json").read_text()) | {"model_type": "mamba"}
    (tiny / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointMismatch, match="'mamba'"):
        open_checkpoint(tiny)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 0},
        {"intermediate_size": None},
        {"rope_theta": None, "rope_parameters": 3},
        {"num_hidden_layers": 2**40},
    ],
)
def test_absurd_configuration_values(tiny: Path, change: dict[str, object]) -> None:
    raw = json.loads((tiny / "config.json").read_text()) | change
    (tiny / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointMismatch), open_checkpoint(tiny) as checkpoint:
        checkpoint.verify_shapes()


def _change_weights(folder: Path, change: str) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    name = "model.layers.1.mlp.up_proj.weight"
    if change == "missing":
        del weights[name]
    elif change == "extra":
        weights["model.layers.9.extra"] = torch.zeros(2)
    else:
        weights[name] = weights[name][:-1].clone()
    save_file(weights, folder / WEIGHTS_FILE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"'model.layers.1.mlp.up_proj.weight' is missing"),
        ("extra", r"unexpected tensor 'model.layers.9.extra' of shape \[2\]"),
        ("shape", r"up_proj.weight' has shape \[95, 64\], the configuration says \[96, 64\]"),
    ],
)
def test_wrong_tensors_are_named(tiny: Path, change: str, message: str) -> None:
    _change_weights(tiny, change)
    with open_checkpoint(tiny) as checkpoint, pytest.raises(CheckpointMismatch, match=message):
        checkpoint.verify_shapes()


def test_a_tied_head_stored_twice_is_accepted(tiny: Path) -> None:
    weights = load_file(tiny / WEIGHTS_FILE)
    save_file(weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}, tiny / WEIGHTS_FILE)
    with open_checkpoint(tiny) as checkpoint:
        checkpoint.verify_shapes()


def test_unknown_name(tiny: Path) -> None:
    with open_checkpoint(tiny) as checkpoint, pytest.raises(CheckpointMismatch, match=r"'model\.nothing'"):
        checkpoint.read("model.nothing")


def _pickle_bytes() -> bytes:
    return pickle.dumps({"weights": [1.0, 2.0]}, protocol=4)


def _zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", _pickle_bytes())
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth", "model.safetensors", "model.gguf"])
@pytest.mark.parametrize("content", [_pickle_bytes(), _zip_bytes()], ids=["pickle", "zip"])
def test_a_pickle_is_refused_under_any_name(tiny: Path, name: str, content: bytes) -> None:
    (tiny / name).write_bytes(content)
    with pytest.raises(CheckpointUnsafe, match=name):
        open_checkpoint(tiny / name)


def test_a_folder_with_pickles_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(_zip_bytes())
    with pytest.raises(CheckpointUnsafe, match=r"pytorch_model\.bin"):
        open_checkpoint(tmp_path)


def test_an_index_cannot_point_outside(tiny: Path) -> None:
    (tiny / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(CheckpointUnsafe, match="outside"):
        open_checkpoint(tiny)


def test_a_missing_shard_and_a_broken_promise(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "tiny", num_shards=2)
    index = json.loads((folder / INDEX_FILE).read_text())
    index["weight_map"]["model.ghost"] = "model-00001-of-00002.safetensors"
    (folder / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(CheckpointMismatch, match=r"model\.ghost"):
        open_checkpoint(folder)
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointMissing, match="model-00001-of-00002"):
        open_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_corrupt(tiny: Path, keep: int) -> None:
    raw = (tiny / WEIGHTS_FILE).read_bytes()
    (tiny / WEIGHTS_FILE).write_bytes(raw[:keep])
    with pytest.raises(CheckpointCorrupt, match=r"model\.safetensors"):
        open_checkpoint(tiny)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("fuzz") / "tiny", num_layers=1)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damage_is_always_one_of_our_errors(scratch: Path, data: st.DataObject) -> None:
    """Flip header bytes and cut the end: opening and reading works or raises a CheckpointError, nothing else."""
    original = write_once(scratch)
    raw = bytearray(original)
    header_size = 8 + int.from_bytes(raw[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, header_size - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))
    (scratch / WEIGHTS_FILE).write_bytes(raw[:keep])
    try:
        with open_checkpoint(scratch) as checkpoint:
            checkpoint.verify_shapes()
            for name in checkpoint.names():
                checkpoint.read(name)
    except CheckpointError as error:
        assert str(error)


def write_once(folder: Path) -> bytes:
    """The undamaged weights, kept beside the copy that is being damaged."""
    keep = folder.parent / "original"
    if not keep.exists():
        shutil.copy(folder / WEIGHTS_FILE, keep)
    return keep.read_bytes()
