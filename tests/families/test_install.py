"""Families become installed models: imported, pulled from a hub, quantised, listed, verified; refused where unsafe."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_runtime.api import GenerateRequest, SamplingParams
from model_runtime.checkpoint import open_checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    CheckpointMissing,
    CheckpointUnsafe,
    InstallError,
    RequestError,
)
from model_runtime.families.names import linear_names
from model_runtime.hub import HubFile, pull_model
from model_runtime.install import import_checkpoint, list_models, model_details, quantize_model, verify_model
from model_runtime.latency import write_curve
from model_runtime.quantization import expanded, from_stored
from model_runtime.runtime import Runtime
from model_runtime.vocabulary import tokenizer_json
from seedls.cli import main
from tests.families.published import (
    DATA,
    load_published,
    reference_tensors,
    vocabulary_of,
    write_published,
)

PARAMS = SamplingParams(max_tokens=8)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def answer(model: str, home: Path) -> str:
    config = RuntimeConfig(model=model, home=home, device="cpu", precision="float32", cache_tokens=256)
    return Runtime.load(config).generate(GenerateRequest("class B:\n", params=PARAMS)).text


@pytest.mark.parametrize("name", ["dreamon", "a2d-qwen3", "llada", "llada2"])
def test_an_imported_family_answers_as_the_folder_does(name: str, tmp_path: Path, home: Path) -> None:
    source = write_published(name, tmp_path)
    (source / "modeling_dream.py").write_text("raise SystemExit('never run')")
    folder = import_checkpoint(source, "mine", home)
    assert not list(folder.glob("*.py"))
    assert "auto_map" not in json.loads((folder / "config.json").read_text())
    verify_model("mine", home)
    assert answer("mine", home) == answer(str(source), home)
    details = model_details("mine", home)
    assert details.family in details.description and details.memory_bytes["int4"] < details.memory_bytes["bfloat16"]
    assert [model.name for model in list_models(home) if model.is_installed] == ["mine"]


def test_a_vocabulary_in_text_files_is_read(tmp_path: Path, home: Path) -> None:
    source = write_published("dream", tmp_path)
    expected = answer(str(source), home)
    write_text_vocabulary(source, "dream")
    assert answer(str(source), home) == expected
    import_checkpoint(source, "mine", home)
    assert answer("mine", home) == expected
    (source / "vocab.json").write_text('{"a": 5}')
    with pytest.raises(CheckpointMismatch, match=r"vocab\.json"):
        answer(str(source), home)
    (source / "vocab.json").write_text("[1]")
    with pytest.raises(CheckpointCorrupt, match="no readable vocabulary"):
        answer(str(source), home)


def write_text_vocabulary(folder: Path, name: str) -> None:
    """What Dream's repositories have instead of `tokenizer.json`."""
    vocabulary = vocabulary_of(name)
    (folder / "tokenizer.json").unlink()
    ids = {token: i for i, token in enumerate(vocabulary.tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in vocabulary.merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    added = {special: len(ids) + i for i, special in enumerate(vocabulary.specials)}
    (folder / "added_tokens.json").write_text(json.dumps(added), encoding="utf-8")


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.01), (4, 0.12)])
@pytest.mark.parametrize("name", ["dream", "llada2"])
def test_a_quantised_copy_holds_nearly_the_same_weights(
    name: str, bits: int, tolerance: float, tmp_path: Path, home: Path
) -> None:
    import_checkpoint(write_published(name, tmp_path), "whole", home)
    folder = quantize_model("whole", bits, "small", home)
    assert (folder / "model.safetensors").stat().st_size < 0.8 * size_of(home / "models" / "whole")
    verify_model("small", home)
    small = load_file(folder / "model.safetensors")
    packed_names = [each.removesuffix(".values") for each in small if each.endswith(".values")]
    with open_checkpoint(home / "models" / "whole") as whole:
        assert whole.family is not None
        assert set(packed_names) == {n for n in linear_names(whole.family) if bits == 8 or whole.shape(n)[1] % 32 == 0}
        for each in packed_names:
            weight = from_stored(small[each + ".values"], small[each + ".scales"], bits, torch.float32)  # type: ignore[arg-type]
            original = whole.read(each).float()
            assert float((expanded(weight) - original).norm() / original.norm()) < tolerance, each
    network, packed = load_published(folder), load_published(folder, precision=f"int{bits}")
    assert packed.num_bytes < network.num_bytes
    with pytest.raises(RequestError, match="quantised already"):
        quantize_model("small", bits, "smaller", home)


def test_eight_bits_hardly_change_the_logits(tmp_path: Path, home: Path) -> None:
    folder = import_checkpoint(write_published("dream", tmp_path), "small", home, bits=8)
    token_ids, expected = (reference_tensors("dream")[f"full.{part}"] for part in ("ids", "logits"))
    network, row = load_published(folder), torch.arange(len(token_ids))
    window = network.new_canvas_cache(64).window(0, len(token_ids))
    actual = network.logits(network.forward_canvas(token_ids, row, window))
    assert float((actual - expected).norm() / expected.norm()) < 0.03


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        ("missing tensor", CheckpointMismatch, "is missing"),
        ("extra tensor", CheckpointMismatch, "unexpected tensor 'model.layers.0.self_attn.q_norm.weight'"),
        ("wrong shape", CheckpointMismatch, "has shape"),
        ("truncated", CheckpointCorrupt, "model-00001-of-00002.safetensors"),
        ("pickle", CheckpointUnsafe, "pickle"),
        ("mask is a word", CheckpointMismatch, "mask token 70 is the text 'F'"),
        ("mask outside", CheckpointMismatch, "mask token 151666 is outside the 300 rows"),
        (
            "mask disagrees",
            CheckpointMismatch,
            r"config.json says mask token 285, the vocabulary has <\|mask\|> as 286",
        ),
        ("small embedding", CheckpointMismatch, "the vocabulary has 287 ids, the embedding 280 rows"),
        ("unknown rope", CheckpointMismatch, "rotary scaling 'yarn'"),
        ("gelu", CheckpointMismatch, "activation 'gelu'"),
        ("no heads", CheckpointMismatch, "num_attention_heads"),
        ("no vocabulary", CheckpointMissing, r"no tokenizer\.json"),
        ("other tool's bits", CheckpointMismatch, "quantised by another tool"),
    ],
)
def test_damage_is_named(damage: str, error: type[CheckpointError], says: str, tmp_path: Path, home: Path) -> None:
    folder = write_published("dream", tmp_path)
    hurt(folder, damage)
    with pytest.raises(error, match=says):
        answer(str(folder), home)


def hurt(folder: Path, damage: str) -> None:
    shard, index = folder / "model-00001-of-00002.safetensors", folder / "model.safetensors.index.json"
    raw, weight_map = json.loads((folder / "config.json").read_text()), json.loads(index.read_text())
    tensors = load_file(shard)
    if damage == "missing tensor":
        del weight_map["weight_map"]["model.layers.0.mlp.up_proj.weight"]
    elif damage == "extra tensor":
        tensors["model.layers.0.self_attn.q_norm.weight"] = torch.ones(8)
        weight_map["weight_map"]["model.layers.0.self_attn.q_norm.weight"] = shard.name
    elif damage == "wrong shape":
        raw["intermediate_size"] = 64
    elif damage == "mask is a word":
        raw["mask_token_id"] = 70
    elif damage == "mask outside":
        raw["mask_token_id"] = 151666
    elif damage == "mask disagrees":
        raw["mask_token_id"] = 285
    elif damage == "small embedding":
        raw["vocab_size"] = 280
        for part in folder.glob("*.safetensors"):
            cut = {n: t[:280].clone() if t.shape[0] == 300 else t for n, t in load_file(part).items()}
            save_file(cut, part, metadata={"format": "pt"})
        tensors = load_file(shard)
    elif damage == "unknown rope":
        raw["rope_scaling"] = {"rope_type": "yarn", "factor": 4.0}
    elif damage == "gelu":
        raw["hidden_act"] = "gelu"
    elif damage == "no heads":
        del raw["num_attention_heads"]
    elif damage == "no vocabulary":
        (folder / "tokenizer.json").unlink()
    elif damage == "other tool's bits":
        raw["quantization_config"] = {"quant_method": "gptq"}
    (folder / "config.json").write_text(json.dumps(raw))
    index.write_text(json.dumps(weight_map))
    save_file(tensors, shard, metadata={"format": "pt"})
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "pickle":
        shard.write_bytes(b"\x80\x04\x95rest of a pickle")


def test_a_trained_head_wins_over_the_flag(tmp_path: Path, home: Path) -> None:
    folder = write_published("a2d-qwen2", tmp_path)
    assert "tie_word_embeddings" in json.loads((folder / "config.json").read_text())
    tied = load_published(folder)
    add_head(
        folder,
        load_file(folder / "model-00001-of-00002.safetensors") | load_file(folder / "model-00002-of-00002.safetensors"),
    )
    token_ids = torch.arange(6)

    def logits(network: object) -> torch.Tensor:
        window = network.new_canvas_cache(8).window(0, 6)  # type: ignore[attr-defined]
        return network.logits(network.forward_canvas(token_ids, token_ids, window))  # type: ignore[attr-defined]

    other = logits(load_published(folder))
    assert not torch.allclose(other, logits(tied))
    assert torch.allclose(other, 2 * logits(tied), atol=1e-4)


def add_head(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Store a head that is twice the embedding."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    save_file({"lm_head.weight": tensors["model.embed_tokens.weight"] * 2}, folder / "head.safetensors")
    index["weight_map"]["lm_head.weight"] = "head.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


class FolderHub:
    """A hub whose only repository is a folder on this disk."""

    def __init__(self, folder: Path, *, lies: bool = False) -> None:
        self.folder, self.lies, self.fetched = folder, lies, list[str]()

    def files(self, repository: str, revision: str | None) -> tuple[str, Sequence[HubFile]]:
        files = []
        for path in sorted(self.folder.iterdir()):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            known = digest if path.suffix == ".safetensors" else None
            files.append(HubFile(path.name, path.stat().st_size, "0" * 64 if known and self.lies else known))
        return "c" * 40, files

    def fetch(self, repository: str, commit: str, file: HubFile, folder: Path, arrived: object) -> Path:
        self.fetched.append(file.name)
        return Path(shutil.copyfile(self.folder / file.name, folder / file.name))


def test_pulling_brings_what_is_needed_and_nothing_else(tmp_path: Path, home: Path) -> None:
    source = write_published("a2d-qwen3", tmp_path)
    (source / "modeling.py").write_text("")
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04")
    hub, seen = FolderHub(source), list[float]()
    folder = pull_model("dllm-hub/tiny-bd3lm@main", None, home, lambda _, share: seen.append(share), bits=8, hub=hub)
    assert folder == home / "models" / "tiny-bd3lm"
    assert not {"modeling.py", "pytorch_model.bin"} & set(hub.fetched)
    assert seen == sorted(seen) and 0.99 <= seen[-1] <= 1.0
    assert model_details("tiny-bd3lm", home).family == "a2d-bd3lm"
    assert answer("tiny-bd3lm", home)


def test_a_pull_that_cannot_be_is_one_error(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_published("dream", tmp_path)
    with pytest.raises(CheckpointCorrupt, match="0000"):
        pull_model("a/dream", "x", home, hub=FolderHub(source, lies=True))
    assert not (home / "models" / "x").exists()
    for shard in source.glob("*.safetensors"):
        shard.unlink()
    with pytest.raises(CheckpointMissing, match="no safetensors"):
        pull_model("a/dream", "x", home, hub=FolderHub(source))
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointUnsafe, match="pickles"):
        pull_model("a/dream", "x", home, hub=FolderHub(source))
    for repository in ("dream", "a/b/c", "/x", "a/../b"):
        with pytest.raises(RequestError, match="is not a hub repository"):
            pull_model(repository, "x", home, hub=FolderHub(source))
    monkeypatch.setenv("SEEDLS_OFFLINE", "1")
    with pytest.raises(InstallError, match="switched off"):
        pull_model("a/dream", "x", home, hub=FolderHub(source))


def test_the_command_line(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_published("a2d-qwen2", tmp_path).rename(tmp_path / "model")
    assert main(["model", "import", str(source), "--name", "m"]) == 1
    assert "a2d-mdlm and a2d-bd3lm" in capsys.readouterr().err
    assert main(["model", "import", str(source), "--name", "m", "--family", "a2d-mdlm"]) == 0
    assert main(["model", "quantize", "m", "--name", "m4"]) == 0
    capsys.readouterr()
    assert main(["model", "list"]) == 0
    listed = capsys.readouterr().out
    assert "int4 0.3 GB" in listed and "tokens/s" not in listed, "no speed is invented"
    write_curve(home / "latency" / "cpu.json", {1: 10.0, 8: 12.0}, weight_bytes=1_000_000)
    assert main(["model", "list"]) == 0
    assert re.search(r"int4 0\.3 GB; about int4 \d+ tokens/s one at a time", capsys.readouterr().out)
    assert main(["model", "info", "m4", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["family"] == "a2d-mdlm" and set(info["memory_bytes"]) == {"int4"}
    assert main(["model", "verify", "m4"]) == 0
    assert main(["model", "quantize", "coder-9", "--name", "x"]) == 1
    assert "coder-9" in capsys.readouterr().err
    assert main(["model", "import", str(source), "--name", "x", "--family", "dram"]) == 1
    assert "unknown family 'dram'" in capsys.readouterr().err


def test_a_plain_base_is_imported_whole(tmp_path: Path, home: Path) -> None:
    source = write_published("open-dcoder", tmp_path).rename(tmp_path / "model")
    vocabulary = vocabulary_of("qwen3")  # no mask token
    (source / "tokenizer.json").write_text(tokenizer_json(vocabulary), encoding="utf-8")
    with pytest.raises(RequestError, match="plain Qwen2: it is quantised when it is loaded"):
        import_checkpoint(source, "mine", home, bits=8)
    import_checkpoint(source, "mine", home)
    verify_model("mine", home)
    assert model_details("mine", home).family == "" and answer("mine", home)


def test_a_failed_import_leaves_nothing(tmp_path: Path, home: Path) -> None:
    source = write_published("dream", tmp_path, mask_token_id=70)  # found out when the weights are copied already
    with pytest.raises(CheckpointMismatch):
        import_checkpoint(source, "mine", home)
    assert [path.name for path in (home / "models").iterdir()] == []


def test_stored_checkpoints_open_as_published() -> None:
    with open_checkpoint(DATA / "llada2", "llada2") as checkpoint:
        checkpoint.verify_shapes()
        assert checkpoint.family is not None and checkpoint.family.experts is not None
