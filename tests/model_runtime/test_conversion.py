"""Conversion: right values under right names, the same bytes every time, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_runtime.checkpoint import WEIGHTS_FILE, open_checkpoint
from model_runtime.conversion import convert, hash_file, read_record
from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing
from model_runtime.manifest import FileDigest
from model_runtime.tokenizer import ADDED_TOKENS, MASK_TOKEN, Tokenizer
from model_runtime.vocabulary import choose_kept_ids
from tests.support.tiny_model import tiny_base_vocabulary, tiny_vocabulary, write_tiny_checkpoint, write_tiny_gguf

SOURCE = FileDigest(0, "0" * 64)


@pytest.fixture(scope="module")
def gguf_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("source") / "tiny.gguf")


def _kept_ids() -> list[int]:
    base = tiny_base_vocabulary()
    return choose_kept_ids(base, {base.tokens.index("return"): 3}, 256 + len(base.specials) + 6)


def test_pruned_checkpoint_opens_and_keeps_the_right_rows(gguf_path: Path, tmp_path: Path) -> None:
    kept = _kept_ids()
    convert(gguf_path, tmp_path / "out", name="tiny", source_digest=SOURCE, kept_ids=kept)
    tokenizer = Tokenizer.load(tmp_path / "out")
    with open_checkpoint(gguf_path) as source, open_checkpoint(tmp_path / "out") as ours:
        ours.verify_shapes()
        assert ours.config.vocab_size == len(kept) + len(ADDED_TOKENS) == tokenizer.vocab_size
        assert ours.config.mask_token_id == tokenizer.token_id(MASK_TOKEN)
        old = source.read("model.embed_tokens.weight").to(torch.float16)
        new = ours.read("model.embed_tokens.weight")
        assert torch.equal(new[: len(kept)], old[kept])
        for row in new[len(kept) :]:
            torch.testing.assert_close(row.float(), old[kept].float().mean(0), atol=1e-3, rtol=1e-3)
        for name in ours.names():
            if name != "model.embed_tokens.weight":
                stored = ours.read(name)
                assert stored.dtype == (torch.float16 if stored.ndim > 1 else torch.float32)
                assert torch.equal(stored, source.read(name).to(stored.dtype)), name


def test_same_input_same_bytes(gguf_path: Path, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        convert(gguf_path, tmp_path / folder, name="tiny", source_digest=SOURCE, kept_ids=_kept_ids())
    names = sorted(file.name for file in (tmp_path / "first").iterdir())
    assert names == ["config.json", "model.safetensors", "seedls.json", "tokenizer.json"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_recorded_digests_are_those_of_the_files(gguf_path: Path, tmp_path: Path) -> None:
    record = convert(gguf_path, tmp_path / "out", name="tiny", source_digest=SOURCE)
    assert read_record(tmp_path / "out") == record
    assert record.files == {name: hash_file(tmp_path / "out" / name) for name in record.files}
    assert record.kept_ids == tuple(range(len(tiny_base_vocabulary())))


def test_readable_by_the_reference_libraries(gguf_path: Path, tmp_path: Path) -> None:
    convert(gguf_path, tmp_path / "out", name="tiny", source_digest=SOURCE)
    from transformers import Qwen2ForCausalLM

    model = Qwen2ForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.config.vocab_size == len(tiny_vocabulary())


@pytest.mark.parametrize("num_shards", [1, 3])
def test_hugging_face_folder(tmp_path: Path, num_shards: int) -> None:
    source = write_tiny_checkpoint(tmp_path / "source", num_shards=num_shards, dtype=torch.bfloat16)
    convert(source, tmp_path / "out", name="tiny", source_digest=SOURCE)
    with open_checkpoint(source) as before, open_checkpoint(tmp_path / "out") as after:
        after.verify_shapes()
        assert after.config == before.config  # it has the added tokens already: none is added twice
        for name in before.names():
            stored = after.read(name)
            assert torch.equal(stored, before.read(name).to(stored.dtype))
    assert Tokenizer.load(tmp_path / "out").special_tokens == Tokenizer.load(source).special_tokens


def test_failure_leaves_nothing_and_keeps_the_old(gguf_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "out"
    convert(gguf_path, folder, name="tiny", source_digest=SOURCE)
    before = hash_file(folder / WEIGHTS_FILE)
    open_set = [*range(256), tiny_base_vocabulary().tokens.index("def")]  # "def" is made of "de", which is not there
    with pytest.raises(CheckpointMismatch, match="not closed"):
        convert(gguf_path, folder, name="tiny", source_digest=SOURCE, kept_ids=open_set)
    wrong = {WEIGHTS_FILE: FileDigest(1, "f" * 64)}
    with pytest.raises(CheckpointCorrupt, match="f" * 64):
        convert(gguf_path, folder, name="tiny", source_digest=SOURCE, expected_files=wrong)
    assert [file.name for file in folder.parent.iterdir()] == ["out"]
    assert hash_file(folder / WEIGHTS_FILE) == before


def test_an_interrupted_conversion_leaves_nothing(gguf_path: Path, tmp_path: Path) -> None:
    def stop(message: str, fraction: float) -> None:
        if fraction > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(gguf_path, tmp_path / "home" / "out", name="tiny", source_digest=SOURCE, progress=stop)
    assert list((tmp_path / "home").iterdir()) == []


def test_values_float16_cannot_hold(tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "source")
    weights = load_file(source / WEIGHTS_FILE)
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e9
    save_file(weights, source / WEIGHTS_FILE)
    with pytest.raises(CheckpointMismatch, match="up_proj"):
        convert(source, tmp_path / "out", name="tiny", source_digest=SOURCE)


def test_wrong_shapes_and_missing_tokenizer(tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "source")
    tokenizer = source / "tokenizer.json"
    tokenizer.rename(tmp_path / "aside")
    with pytest.raises(CheckpointMissing, match=r"tokenizer\.json"):
        convert(source, tmp_path / "out", name="tiny", source_digest=SOURCE)
    (tmp_path / "aside").rename(tokenizer)
    config = json.loads((source / "config.json").read_text()) | {"intermediate_size": 97}
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointMismatch, match="97"):
        convert(source, tmp_path / "out", name="tiny", source_digest=SOURCE)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 99}', "[]"])
def test_damaged_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "seedls.json").write_text(text)
    with pytest.raises(CheckpointCorrupt, match=r"seedls\.json"):
        read_record(tmp_path)
