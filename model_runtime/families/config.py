"""A published `config.json` as the shape of a network plus what the family table adds.

Reads the key names of each family (Hugging Face's, LLaDA's), and refuses by name what no network here computes:
another activation, sliding windows, unknown rotary scaling. It does not look at weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model_runtime.config import ModelConfig
from model_runtime.errors import CheckpointMismatch
from model_runtime.families.table import Family

# Where one family has networks of several shapes, the model type says which.
_QKV_BIAS_TYPES = ("a2d-qwen2",)
_QK_NORM_TYPES = ("a2d-qwen3",)


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Llama 3's stretched rotary frequencies (`rope_type: llama3`)."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts, routed in groups by sigmoid scores (Ling 2.0, DeepSeek-V3)."""

    num_experts: int
    num_chosen: int
    num_groups: int
    num_chosen_groups: int
    num_shared: int
    inner_size: int
    scaling: float
    first_layer: int
    """Layers before it have an ordinary feed-forward network."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """Linears stored in fewer bits, by `seedls model quantize`."""

    bits: int
    """8 (one scale a row) or 4 (one scale for 32 inputs)."""


@dataclass(frozen=True, slots=True)
class FamilyConfig:
    """Everything about a checkpoint that is known before its tensors are opened."""

    family: Family
    shape: ModelConfig
    """`attention_bias` is that of q, k and v; `architecture` is the family's name."""
    qk_norm: bool
    rotary_dim: int
    """Dimensions of a head that rotate; the rest pass."""
    rope_scaling: RopeScaling | None
    experts: Experts | None
    block_size: int
    mask_token_id: int | None
    """What `config.json` says; None where it does not."""
    quantization: Quantization | None = None


def read_family_config(raw: dict[str, Any], family: Family) -> FamilyConfig:
    """Raises CheckpointMismatch naming a missing key or a value no network here computes."""
    try:
        config = _llada(raw, family) if family.names == "llada" else _hugging_face(raw, family)
    except KeyError as missing:
        raise CheckpointMismatch(f"config.json has no {missing.args[0]!r}") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise CheckpointMismatch(f"config.json has a value that is no shape: {error}") from None
    _check(config)
    return config


def _hugging_face(raw: dict[str, Any], family: Family) -> FamilyConfig:
    """Key names of Hugging Face's Qwen2, Qwen3, Llama and of Ling 2.0."""
    _refuse_unsupported(raw)
    num_heads, hidden = int(raw["num_attention_heads"]), int(raw["hidden_size"])
    head_dim = int(raw.get("head_dim") or hidden // num_heads)
    rope = raw.get("rope_parameters") or {}
    shape = ModelConfig(
        architecture=family.name,
        hidden_size=hidden,
        intermediate_size=int(raw["intermediate_size"]),
        num_layers=int(raw["num_hidden_layers"]),
        num_heads=num_heads,
        num_kv_heads=int(raw.get("num_key_value_heads") or num_heads),
        head_dim=head_dim,
        vocab_size=int(raw["vocab_size"]),
        max_position=int(raw.get("max_position_embeddings", 32768)),
        rope_theta=float(raw.get("rope_theta") or rope["rope_theta"]),
        rms_norm_eps=float(raw["rms_norm_eps"]),
        tie_word_embeddings=bool(raw.get("tie_word_embeddings", False)),
        attention_bias=_has_qkv_bias(raw, family),
        mask_token_id=_optional_int(raw, "mask_token_id"),
    )
    is_ling = family.names == "llada2"
    partial = float(raw.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or (0.5 if is_ling else 1.0))
    has_qk_norm = family.qk_norm or is_ling or raw.get("model_type") in _QK_NORM_TYPES
    block_sizes = [int(raw[key]) for key in family.block_keys if raw.get(key)]
    return FamilyConfig(
        family=family,
        shape=shape,
        qk_norm=bool(raw.get("use_qk_norm", raw.get("qk_norm", has_qk_norm))),
        rotary_dim=int(raw.get("rotary_dim") or head_dim * partial),
        rope_scaling=_rope_scaling(raw),
        experts=_experts(raw) if is_ling else None,
        block_size=block_sizes[0] if block_sizes else family.decode.block_size,
        mask_token_id=shape.mask_token_id,
        quantization=_quantization(raw),
    )


def _refuse_unsupported(raw: dict[str, Any]) -> None:
    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointMismatch(f"activation {raw['hidden_act']!r} is not supported (silu is)")
    if raw.get("use_sliding_window"):
        raise CheckpointMismatch("sliding windows are not supported")
    if raw.get("mlp_bias") or raw.get("use_bias"):
        raise CheckpointMismatch("biases of the output or feed-forward layers are not supported")


def _has_qkv_bias(raw: dict[str, Any], family: Family) -> bool:
    """Qwen2 has biases on q, k and v whatever its configuration says; elsewhere the key means the output layer too."""
    model_type = raw.get("model_type")
    if family.qkv_bias or model_type in _QKV_BIAS_TYPES:
        return True
    if model_type == "wedlm":
        return bool(raw.get("attention_bias", True))
    if raw.get("attention_bias"):
        raise CheckpointMismatch("biases of the attention's output layer are not supported")
    return bool(raw.get("use_qkv_bias", False))


def _llada(raw: dict[str, Any], family: Family) -> FamilyConfig:
    """LLaDA-8B's own key names (`configuration_llada.py` of the published code)."""
    wanted = {"block_type": "llama", "layer_norm_type": "rms", "activation_type": "silu", "rope": True}
    for key, value in wanted.items():
        if raw.get(key, value) != value:
            raise CheckpointMismatch(f"LLaDA with {key} = {raw[key]!r} is not supported ({value!r} is)")
    for key in (
        "alibi",
        "include_bias",
        "bias_for_layer_norm",
        "attention_layer_norm",
        "input_emb_norm",
        "scale_logits",
    ):
        if raw.get(key):
            raise CheckpointMismatch(f"LLaDA with {key} is not supported")
    num_heads, hidden = int(raw["n_heads"]), int(raw["d_model"])
    shape = ModelConfig(
        architecture=family.name,
        hidden_size=hidden,
        intermediate_size=int(raw.get("mlp_hidden_size") or int(raw["mlp_ratio"]) * hidden),
        num_layers=int(raw["n_layers"]),
        num_heads=num_heads,
        num_kv_heads=int(raw.get("n_kv_heads") or num_heads),
        head_dim=hidden // num_heads,
        vocab_size=int(raw.get("embedding_size") or raw["vocab_size"]),
        max_position=int(raw.get("max_sequence_length", 4096)),
        rope_theta=float(raw.get("rope_theta", 10000.0)),
        rms_norm_eps=float(raw.get("rms_norm_eps", 1e-5)),
        tie_word_embeddings=bool(raw.get("weight_tying", True)),
        attention_bias=bool(raw.get("include_qkv_bias", False)),
        mask_token_id=_optional_int(raw, "mask_token_id"),
    )
    return FamilyConfig(
        family=family,
        shape=shape,
        qk_norm=False,
        rotary_dim=shape.head_dim,
        rope_scaling=None,
        experts=None,
        block_size=family.decode.block_size,
        mask_token_id=shape.mask_token_id,
        quantization=_quantization(raw),
    )


def _experts(raw: dict[str, Any]) -> Experts | None:
    if not raw.get("num_experts"):
        return None
    if raw.get("score_function", "sigmoid") != "sigmoid":
        raise CheckpointMismatch(f"expert scores by {raw['score_function']!r} are not supported (sigmoid is)")
    if raw.get("norm_topk_prob") is False:
        raise CheckpointMismatch("norm_topk_prob = false is not supported")
    return Experts(
        num_experts=int(raw["num_experts"]),
        num_chosen=int(raw["num_experts_per_tok"]),
        num_groups=int(raw.get("n_group", 8)),
        num_chosen_groups=int(raw.get("topk_group", 4)),
        num_shared=int(raw.get("num_shared_experts") or 0),
        inner_size=int(raw["moe_intermediate_size"]),
        scaling=float(raw.get("routed_scaling_factor", 2.5)),
        first_layer=int(raw.get("first_k_dense_replace", 0)),
    )


def _rope_scaling(raw: dict[str, Any]) -> RopeScaling | None:
    scaling = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise CheckpointMismatch(f"rotary scaling {kind!r} is not supported (llama3 is)")
    return RopeScaling(
        factor=float(scaling["factor"]),
        low_frequency_factor=float(scaling["low_freq_factor"]),
        high_frequency_factor=float(scaling["high_freq_factor"]),
        original_positions=int(scaling["original_max_position_embeddings"]),
    )


def _quantization(raw: dict[str, Any]) -> Quantization | None:
    if raw.get("quantization_config"):
        raise CheckpointMismatch("weights quantised by another tool are not supported: use the published 16-bit ones")
    stored = raw.get("seedls_quantization")
    if stored is None:
        return None
    bits = int(stored["bits"])
    if bits not in (4, 8):
        raise CheckpointMismatch(f"weights of {bits} bits are not supported (4 and 8 are)")
    return Quantization(bits)


def _optional_int(raw: dict[str, Any], key: str) -> int | None:
    value = raw.get(key)
    return None if value is None else int(value)


def _check(config: FamilyConfig) -> None:
    shape = config.shape
    sizes = (shape.hidden_size, shape.intermediate_size, shape.num_layers, shape.num_heads, shape.num_kv_heads)
    if min(*sizes, shape.head_dim, shape.vocab_size, config.block_size) < 1:
        raise CheckpointMismatch("config.json has a size below 1")
    if shape.num_heads % shape.num_kv_heads:
        raise CheckpointMismatch(f"{shape.num_heads} heads cannot share {shape.num_kv_heads} key/value heads evenly")
    if not 0 < config.rotary_dim <= shape.head_dim or config.rotary_dim % 2:
        raise CheckpointMismatch(f"{config.rotary_dim} rotating dimensions do not fit a head of {shape.head_dim}")
    experts = config.experts
    if experts is not None and experts.num_experts % experts.num_groups:
        raise CheckpointMismatch(f"{experts.num_experts} experts do not split into {experts.num_groups} groups")
