"""Tensor names of each published layout, and every tensor with its shape that a configuration promises.

Three layouts: Hugging Face's (`llama`: Qwen2, Qwen3, Llama and all that derive from them), LLaDA's own, and Ling 2.0's
(`llada2`: one fused projection of q, k and v, experts).
"""

from __future__ import annotations

from dataclasses import dataclass

from model_runtime.families.config import FamilyConfig

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class WeightNames:
    """Names without `.weight`; those of a layer stand behind `layer` with the layer's number in it."""

    embedding: str
    norm: str
    head: str
    layer: str
    input_norm: str
    post_norm: str
    qkv: tuple[str, ...]
    output: str
    query_norm: str
    key_norm: str
    gate: str
    up: str
    down: str
    router: str = "mlp.gate"
    router_bias: str = "mlp.gate.expert_bias"
    """A full name: it has no `.weight`."""
    expert: str = "mlp.experts.{}."
    shared: str = "mlp.shared_experts."

    def of_layer(self, index: int, name: str) -> str:
        """Full name of a layer's weight."""
        return f"{self.layer.format(index)}{name}.weight"


_NAMES = {
    "llama": WeightNames(
        embedding="model.embed_tokens",
        norm="model.norm",
        head="lm_head",
        layer="model.layers.{}.",
        input_norm="input_layernorm",
        post_norm="post_attention_layernorm",
        qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output="self_attn.o_proj",
        query_norm="self_attn.q_norm",
        key_norm="self_attn.k_norm",
        gate="mlp.gate_proj",
        up="mlp.up_proj",
        down="mlp.down_proj",
    ),
    "llada": WeightNames(
        embedding="model.transformer.wte",
        norm="model.transformer.ln_f",
        head="model.transformer.ff_out",
        layer="model.transformer.blocks.{}.",
        input_norm="attn_norm",
        post_norm="ff_norm",
        qkv=("q_proj", "k_proj", "v_proj"),
        output="attn_out",
        query_norm="",
        key_norm="",
        gate="ff_proj",
        up="up_proj",
        down="ff_out",
    ),
    "llada2": WeightNames(
        embedding="model.word_embeddings",
        norm="model.norm",
        head="lm_head",
        layer="model.layers.{}.",
        input_norm="input_layernorm",
        post_norm="post_attention_layernorm",
        qkv=("attention.query_key_value",),
        output="attention.dense",
        query_norm="attention.query_layernorm",
        key_norm="attention.key_layernorm",
        gate="mlp.gate_proj",
        up="mlp.up_proj",
        down="mlp.down_proj",
    ),
}

_LINEAR_PARTS = ("gate_proj", "up_proj", "down_proj")


def weight_names(config: FamilyConfig) -> WeightNames:
    """The names of a configuration's layout."""
    return _NAMES[config.family.names]


def family_shapes(config: FamilyConfig) -> Shapes:
    """Every 16-bit tensor of this configuration, by its published name; linears are (out, in)."""
    shape, names = config.shape, weight_names(config)
    shapes: Shapes = {
        f"{names.embedding}.weight": (shape.vocab_size, shape.hidden_size),
        f"{names.norm}.weight": (shape.hidden_size,),
    }
    if not shape.tie_word_embeddings:
        shapes[f"{names.head}.weight"] = (shape.vocab_size, shape.hidden_size)
    for i in range(shape.num_layers):
        shapes |= _attention_shapes(config, i) | _feed_forward_shapes(config, i)
    return shapes


def linear_names(config: FamilyConfig) -> list[str]:
    """The matrices of the layers and the head: what may be stored in fewer bits."""
    names = weight_names(config)
    keep = {f"{names.embedding}.weight"}
    if config.experts is not None:
        keep |= {names.of_layer(i, names.router) for i in range(config.shape.num_layers)}
    return [name for name, shape in family_shapes(config).items() if len(shape) == 2 and name not in keep]


def _attention_shapes(config: FamilyConfig, i: int) -> Shapes:
    shape, names = config.shape, weight_names(config)
    hidden, query, key = shape.hidden_size, shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    widths = (query, key, key) if len(names.qkv) == 3 else (query + 2 * key,)
    shapes: Shapes = {
        names.of_layer(i, names.input_norm): (hidden,),
        names.of_layer(i, names.post_norm): (hidden,),
        names.of_layer(i, names.output): (hidden, query),
    }
    for name, width in zip(names.qkv, widths, strict=True):
        shapes[names.of_layer(i, name)] = (width, hidden)
        if shape.attention_bias:
            shapes[f"{names.layer.format(i)}{name}.bias"] = (width,)
    if config.qk_norm:
        shapes[names.of_layer(i, names.query_norm)] = (shape.head_dim,)
        shapes[names.of_layer(i, names.key_norm)] = (shape.head_dim,)
    return shapes


def _feed_forward_shapes(config: FamilyConfig, i: int) -> Shapes:
    shape, names, experts = config.shape, weight_names(config), config.experts
    hidden = shape.hidden_size
    if experts is None or i < experts.first_layer:
        inner = shape.intermediate_size
        return {
            names.of_layer(i, names.gate): (inner, hidden),
            names.of_layer(i, names.up): (inner, hidden),
            names.of_layer(i, names.down): (hidden, inner),
        }
    shapes: Shapes = {
        names.of_layer(i, names.router): (experts.num_experts, hidden),
        names.layer.format(i) + names.router_bias: (experts.num_experts,),
    }
    groups = [(names.expert.format(e), experts.inner_size) for e in range(experts.num_experts)]
    if experts.num_shared:
        groups.append((names.shared, experts.inner_size * experts.num_shared))
    for prefix, inner in groups:
        for part in _LINEAR_PARTS:
            size = (hidden, inner) if part == "down_proj" else (inner, hidden)
            shapes[names.of_layer(i, prefix + part)] = size
    return shapes
