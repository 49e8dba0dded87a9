"""The table itself: what it says of each family, how a folder finds its row, what a configuration may not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.errors import CheckpointMismatch, OutOfMemory
from model_runtime.families.config import FamilyConfig, read_family_config
from model_runtime.families.mask import mask_token_id
from model_runtime.families.names import family_shapes, linear_names
from model_runtime.families.recognise import recognise
from model_runtime.families.table import FAMILIES, family_by_name, family_names
from model_runtime.memory import check_memory, memory_need
from tests.architecture.source_tree import ROOT
from tests.families.published import CHECKPOINTS, DATA, vocabulary_of

GIGABYTE = 10**9

QWEN_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    "max_position_embeddings": 131072,
}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "dream": {**QWEN_7B, "model_type": "Dream", "architectures": ["DreamModel"], "mask_token_id": 151666},
    "fast-dllm-v2": {**QWEN_7B, "model_type": "Fast_dLLM_Qwen", "bd_size": 32},
    "stable-diffcoder": {
        "model_type": "llama", "architectures": ["StableDiffcoderForCausalLM"], "hidden_size": 4096, "head_dim": 128,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "vocab_size": 155136, "rms_norm_eps": 1e-6, "rope_theta": 5e5, "max_position_embeddings": 8192,
    },
    "sdar": {
        "model_type": "sdar", "hidden_size": 4096, "head_dim": 128, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151936,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "max_position_embeddings": 32768, "block_size": 4,
        "mask_token_id": 151669,
    },
    "llada": {
        "model_type": "llada", "d_model": 4096, "mlp_hidden_size": 12288, "n_layers": 32, "n_heads": 32,
        "n_kv_heads": 32, "vocab_size": 126464, "embedding_size": 126464, "weight_tying": False,
        "rope_theta": 5e5, "max_sequence_length": 4096, "mask_token_id": 126336,
    },
}  # fmt: skip
"""Shapes of the published 7B and 8B models, from their configurations."""


SEED_DIFFCODER = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_seed_diffcoder.SeedDiffcoderForCausalLM"},
}  # fmt: skip
"""Stable-DiffCoder's first release names its base's class."""


def published(name: str) -> FamilyConfig:
    raw = PUBLISHED[name]
    return read_family_config(raw, recognise(raw))


def test_names_are_unique_and_every_diffusion_family_has_a_mask() -> None:
    assert len(set(family_names())) == len(FAMILIES)
    assert all(family.mask_tokens or family.mask_token_id for family in FAMILIES if family.is_diffusion)
    assert all(family.licence for family in FAMILIES)


@pytest.mark.parametrize("name", sorted(CHECKPOINTS))
def test_a_stored_configuration_finds_its_row(name: str) -> None:
    raw = json.loads((DATA / name / "config.json").read_text(encoding="utf-8"))
    expected = CHECKPOINTS[name]
    found = recognise(raw, vocabulary_of(name).specials, f"models--{name}-{expected.removeprefix('a2d-')}")
    assert found.name == expected


@pytest.mark.parametrize(
    ("repository", "raw", "specials", "expected"),
    [
        ("DiffuCoder-7B-Instruct", {"model_type": "Dream", "architectures": ["DreamModel"]}, (), "diffucoder"),
        ("model", {"model_type": "Dream", "architectures": ["DreamModel"]}, ("<|expand|>",), "dreamon"),
        ("model", {"model_type": "Dream", "architectures": ["DreamForCausalLM"]}, (), "dream-reasoner"),
        ("Qwen2.5-Coder-0.5B", {"model_type": "qwen2"}, ("<|im_end|>",), "qwen2"),
        ("model", {"model_type": "qwen2"}, ("<M>",), "open-dcoder"),
        ("Stable-DiffCoder-8B-Base", {"model_type": "llama"}, (), "stable-diffcoder"),
        ("model", SEED_DIFFCODER, (), "stable-diffcoder"),
        ("Llama-3.2-1B", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, (), "llama"),
        ("LLaDA2.1-mini", {"model_type": "llada2_moe"}, (), "llada2.1"),
        ("LLaDA2.0-mini", {"model_type": "llada2_moe"}, (), "llada2"),
    ],
)
def test_what_decides_between_rows(
    repository: str, raw: dict[str, Any], specials: tuple[str, ...], expected: str
) -> None:
    assert recognise(raw, specials, repository).name == expected


@pytest.mark.parametrize("raw", [{"model_type": "gpt2"}, {}, {"model_type": ["x"]}, {"seedls_family": "dram"}])
def test_an_unknown_kind_is_named(raw: dict[str, Any]) -> None:
    with pytest.raises(CheckpointMismatch, match="unknown"):
        recognise(raw)


def test_a_network_of_its_own_is_not_taken_for_its_base() -> None:
    raw = {"model_type": "qwen2", "auto_map": {"AutoModelForCausalLM": "modeling_sdlm.SDLMQwen2ForCausalLM"}}
    with pytest.raises(
        CheckpointMismatch, match=r"unknown network 'modeling_sdlm\.SDLMQwen2ForCausalLM' of type 'qwen2'"
    ):
        recognise(raw, (), "SDLM-32B-D4")
    assert recognise(raw | {"seedls_family": "qwen2"}).name == "qwen2"
    assert recognise({"model_type": "qwen2", "auto_map": {"AutoTokenizer": ["tokenization.Own", None]}}).name == "qwen2"


@pytest.mark.parametrize(
    ("name", "changes", "num_tensors", "num_bytes"),
    [
        ("stable-diffcoder", {}, 291, None),
        ("llada", {}, 291, None),
        ("sdar", {"model_type": "wedlm", "qk_norm": True, "attention_bias": False, "mask_token_id": None}, 399, None),
        (
            "sdar",
            {"model_type": "CoDA", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28}
            | {"num_attention_heads": 16, "block_size": None},
            311,
            8.13e9,
        ),
    ],
)
def test_a_published_index_lists_the_tensors_expected_here(
    name: str, changes: dict[str, Any], num_tensors: int, num_bytes: float | None
) -> None:
    """Tensor counts of the published index files, and the size of CoDA's, which is stored in float32."""
    raw = PUBLISHED[name] | changes
    shapes = family_shapes(read_family_config(raw, recognise(raw)))
    assert len(shapes) == num_tensors
    if num_bytes is not None:
        assert 4 * sum(torch.Size(shape).numel() for shape in shapes.values()) == pytest.approx(num_bytes, rel=2e-3)


def test_a_family_with_another_network_is_refused() -> None:
    with pytest.raises(CheckpointMismatch, match="'llada' has no networks of type 'Dream'"):
        recognise({"model_type": "Dream", "seedls_family": "llada"})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(PUBLISHED)), st.data())
def test_a_configuration_with_anything_in_it_reads_or_is_refused(name: str, data: st.DataObject) -> None:
    raw = dict(PUBLISHED[name])
    key = data.draw(st.sampled_from([*sorted(raw), "rope_scaling", "head_dim", "num_experts", "seedls_quantization"]))
    raw[key] = data.draw(_JSON)
    try:
        config = read_family_config(raw, family_by_name(name))  # type: ignore[arg-type]
    except CheckpointMismatch:
        return
    assert config.shape.num_layers >= 1 and config.rotary_dim <= config.shape.head_dim


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_seven_or_eight_billion_model_fits_as_promised(name: str) -> None:
    """4 bits within 8 GB, 8 bits within 12 GB, weights, a cache of 4096 tokens and working memory together."""
    config = published(name)
    parameters = sum(torch.Size(shape).numel() for shape in family_shapes(config).values())
    assert 7.0e9 < parameters < 8.6e9
    assert memory_need(config, "int4", 4096).total < 8 * GIGABYTE
    assert memory_need(config, "int8", 4096).total < 12 * GIGABYTE


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"fast-dllm-v2"}))
def test_the_documented_memory_is_the_computed_one(name: str) -> None:
    needs = [memory_need(published(name), each, 4096).total / GIGABYTE for each in ("int4", "int8", "bfloat16")]
    figures = " / ".join(f"{need:.1f}" for need in needs)
    lines = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith(f"| `{name}` |") and "licence" not in line]
    assert figures in rows[0], f"docs/models.md has another figure than {figures}"


def test_what_does_not_fit_says_what_would() -> None:
    config = published("dream")
    with pytest.raises(
        OutOfMemory, match=r"dream in bfloat16 needs 15\.\d GB .*10\.0 GB are free: precision int8 .* or int4"
    ):
        check_memory("dream", config, "bfloat16", 4096, 10 * GIGABYTE)
    with pytest.raises(OutOfMemory, match=r"the least is 5\.\d GB \(int4, a cache of 1024 tokens\)$"):
        check_memory("dream", config, "int4", 4096, 2 * GIGABYTE)
    assert check_memory("dream", config, "int4", 4096, None).total > 0


def test_the_counted_weights_are_the_loaded_ones(tmp_path: Path) -> None:
    from tests.families.published import load_published, write_published

    folder = write_published("dream", tmp_path)
    network = load_published(folder, precision="float32")
    config = network.family_config
    stored = sum(torch.Size(shape).numel() * 2 for name, shape in family_shapes(config).items() if "embed" in name)
    linears = sum(torch.Size(family_shapes(config)[name]).numel() * 4 for name in linear_names(config))
    assert network.num_bytes == stored + linears
    assert memory_need(config, "float32", 1).weights == pytest.approx(network.num_bytes, rel=0.02)


def test_a_mask_comes_from_the_vocabulary_where_the_configuration_is_silent() -> None:
    raw = PUBLISHED["stable-diffcoder"]
    config = read_family_config(raw, recognise(raw))
    assert mask_token_id(config, {"<[MASK_TOKEN]>": 7}, 100, str) == 7
    assert mask_token_id(config, {"<|other|>": 5}, 100, str) == 5
    with pytest.raises(CheckpointMismatch, match="mask token 5 is the text"):
        mask_token_id(config, {}, 100, str)
    silent = read_family_config({**QWEN_7B, "model_type": "a2d-qwen2"}, family_by_name("a2d-mdlm"))  # type: ignore[arg-type]
    with pytest.raises(CheckpointMismatch, match=r"needs a mask token: .* none of <\|mask\|>"):
        mask_token_id(silent, {}, 100, str)


def test_every_family_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert [family.name for family in FAMILIES if f"`{family.name}`" not in text] == []
