"""GGUF reading: names, values, metadata, and that no damage to a header escapes as another exception."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.checkpoint import expected_shapes, open_checkpoint
from model_runtime.errors import CheckpointCorrupt, CheckpointError, CheckpointMismatch, CheckpointMissing
from model_runtime.gguf import GgufFile, hugging_face_name
from model_runtime.vocabulary import base_vocabulary
from tests.support.tiny_model import (
    gguf_name,
    tiny_base_vocabulary,
    tiny_config,
    tiny_weights,
    write_tiny_gguf,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def raw(path: Path) -> bytearray:
    return bytearray(path.read_bytes())


def test_config_and_shapes(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        checkpoint.verify_shapes()
        config = checkpoint.config
    base_rows = len(tiny_base_vocabulary()) + 2
    expected = tiny_config()
    assert (config.hidden_size, config.num_layers, config.num_heads, config.num_kv_heads) == (64, 2, 4, 2)
    assert (config.vocab_size, config.tie_word_embeddings, config.mask_token_id) == (base_rows, True, None)
    assert (config.rope_theta, config.rms_norm_eps) == (expected.rope_theta, expected.rms_norm_eps)


def test_values_are_those_of_the_reference_reader(path: Path) -> None:
    """Every tensor equals what the `gguf` package's own reader and dequantiser give."""
    reference = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with GgufFile.open(path) as file:
        for name in file.shapes:
            tensor = reference[gguf_name(name)]
            expected = torch.from_numpy(gguf.dequantize(tensor.data.copy(), tensor.tensor_type).copy())
            assert torch.equal(file.read(name), expected.reshape(file.shapes[name])), name


def test_the_finer_copy_of_the_tied_tensor_is_used(path: Path) -> None:
    with GgufFile.open(path) as file:
        assert "lm_head.weight" not in file.shapes
        values = file.read("model.embed_tokens.weight")
    exact = tiny_weights(tiny_config())["model.embed_tokens.weight"]
    error = (values[:200] - exact[:200]).abs().max()
    assert values.shape[0] == len(tiny_base_vocabulary()) + 2
    assert error < exact.abs().max() / 127  # half a step of Q8_0; Q5_0 is eight times coarser


def test_rows_are_a_slice_of_the_whole(path: Path) -> None:
    with GgufFile.open(path) as file:
        whole = file.read("model.embed_tokens.weight")
        assert torch.equal(file.read_rows("model.embed_tokens.weight", 3, 11), whole[3:11])


def test_vocabulary_leaves_out_padding_rows(path: Path) -> None:
    with GgufFile.open(path) as file:
        assert base_vocabulary(file.tokenizer()) == tiny_base_vocabulary()


def test_names_cover_the_network() -> None:
    for name in expected_shapes(tiny_config()):
        expected = "lm_head.weight" if name == "model.embed_tokens.weight" else name
        assert hugging_face_name(gguf_name(name)) == expected
    with pytest.raises(CheckpointMismatch, match=r"blk\.0\.attn_rotary\.weight"):
        hugging_face_name("blk.0.attn_rotary.weight")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"none\.gguf"):
        GgufFile.open(tmp_path / "none.gguf")


def _refused(tmp_path: Path, raw: bytes, kind: type[CheckpointError], message: str) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(raw)
    with pytest.raises(kind, match=message):
        GgufFile.open(file)


def test_bad_magic(tmp_path: Path, raw: bytearray) -> None:
    raw[:4] = b"GGML"
    _refused(tmp_path, raw, CheckpointCorrupt, "not GGUF: it starts with b'GGML'")


def test_unknown_version(tmp_path: Path, raw: bytearray) -> None:
    raw[4:8] = struct.pack("<I", 9)
    _refused(tmp_path, raw, CheckpointCorrupt, "version 9")


@pytest.mark.parametrize("offset", [8, 16])
def test_absurd_counts(tmp_path: Path, raw: bytearray, offset: int) -> None:
    raw[offset : offset + 8] = struct.pack("<Q", 2**63)
    _refused(tmp_path, raw, CheckpointCorrupt, "9223372036854775808 items")


def test_truncated_data(tmp_path: Path, raw: bytearray) -> None:
    _refused(tmp_path, raw[:-4000], CheckpointCorrupt, r"tensor 'output_norm.weight' ends at byte|is truncated: tensor")


@pytest.mark.parametrize("keep", [0, 3, 23, 24, 200])
def test_truncated_header(tmp_path: Path, raw: bytearray, keep: int) -> None:
    _refused(tmp_path, raw[:keep], CheckpointCorrupt, "truncated")


def _type_field(raw: bytearray, name: str) -> int:
    """Where a matrix's type number lies: after its name, dimension count and two dimensions."""
    return raw.index(name.encode()) + len(name) + 4 + 16


def test_unknown_and_unsupported_types(tmp_path: Path, raw: bytearray) -> None:
    at = _type_field(raw, "blk.0.attn_q.weight")
    raw[at : at + 4] = struct.pack("<I", 999)
    _refused(tmp_path, raw, CheckpointMismatch, "'blk.0.attn_q.weight' has the unknown type 999")
    raw[at : at + 4] = struct.pack("<I", gguf.GGMLQuantizationType.I32)
    _refused(tmp_path, raw, CheckpointMismatch, "'blk.0.attn_q.weight' has the unsupported type I32")


def test_a_tensor_past_the_end(tmp_path: Path, raw: bytearray) -> None:
    at = _type_field(raw, "blk.0.attn_q.weight") + 4
    raw[at : at + 8] = struct.pack("<Q", len(raw))
    _refused(tmp_path, raw, CheckpointCorrupt, "'blk.0.attn_q.weight' ends at byte")


def test_unknown_architecture(tmp_path: Path, raw: bytearray) -> None:
    at = raw.index(b"qwen2")
    raw[at : at + 5] = b"llama"
    file = tmp_path / "llama.gguf"
    file.write_bytes(raw)
    with pytest.raises(CheckpointMismatch, match="'llama'"):
        open_checkpoint(file)


@pytest.mark.parametrize("scale", [b"\x00\x7c", b"\x00\xfc", b"\x01\x7e"], ids=["inf", "-inf", "nan"])
def test_a_scale_that_is_not_finite_is_said(path: Path, tmp_path: Path, scale: bytes) -> None:
    raw = bytearray(path.read_bytes())
    with GgufFile.open(path) as file:
        name, tensor = next(
            (name, tensor) for name, tensor in file._tensors.items() if tensor.type_id == gguf.GGMLQuantizationType.Q8_0
        )
    raw[tensor.offset : tensor.offset + 2] = scale
    raw[tensor.offset + 2] = 0  # infinity times nothing
    (tmp_path / "damaged.gguf").write_bytes(raw)
    with GgufFile.open(tmp_path / "damaged.gguf") as file, pytest.raises(CheckpointCorrupt, match=name):
        file.read(name)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_damage_is_always_one_of_our_errors(path: Path, data: st.DataObject) -> None:
    """Damage anywhere before the tensors, and a cut: it opens and reads, or raises a CheckpointError."""
    raw = bytearray(path.read_bytes())
    with GgufFile.open(path) as file:
        data_start = min(tensor.offset for tensor in file._tensors.values())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, data_start - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))
    damaged = path.with_name("damaged.gguf")
    damaged.write_bytes(raw[:keep])
    try:
        with open_checkpoint(damaged) as checkpoint, GgufFile.open(damaged) as file:
            checkpoint.verify_shapes()
            base_vocabulary(file.tokenizer())
            for name in checkpoint.names():
                checkpoint.read(name)
    except CheckpointError as error:
        assert str(error)
