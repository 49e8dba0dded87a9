"""A random Qwen2-shaped checkpoint with a small byte-level tokenizer: real files, no trained weights, milliseconds.

    folder = write_tiny_checkpoint(tmp_path / "tiny")
    Tokenizer.load(folder); open_checkpoint(folder)

The weights are large enough that logits differ from position to position, so greedy decoding does not repeat one
token for ever.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from model_runtime.checkpoint import expected_shapes
from model_runtime.config import ModelConfig
from model_runtime.tokenizer import ADDED_TOKENS, MASK_TOKEN, byte_symbols
from model_runtime.vocabulary import Vocabulary, tokenizer_json

QWEN_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)

# In rank order; Ġ stands for a space and Ċ for a newline.
TINY_MERGES = (
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("r", "e"),
    ("d", "e"),
    ("de", "f"),
    ("Ġ", "="),
    ("s", "e"),
    ("se", "l"),
    ("sel", "f"),
    ("t", "u"),
    ("tu", "r"),
    ("re", "tur"),
    ("retur", "n"),
    ("(", ")"),
    (")", ":"),
    ("):", "Ċ"),
    ("i", "n"),
    ("p", "r"),
    ("pr", "in"),
    ("prin", "t"),
    ("Ġ", "x"),
)

TINY_CONFIG = ModelConfig(
    architecture="qwen2",
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    vocab_size=0,
    max_position=4096,
    rope_theta=1_000_000.0,
    rms_norm_eps=1e-6,
    tie_word_embeddings=True,
)


def tiny_vocabulary() -> Vocabulary:
    """All bytes, a few merges, the special tokens of the real model and the three added ones."""
    merged = dict.fromkeys(left + right for left, right in TINY_MERGES)
    return Vocabulary((*byte_symbols(), *merged), TINY_MERGES, (*QWEN_SPECIALS, *ADDED_TOKENS))


def tiny_config(num_layers: int = 2) -> ModelConfig:
    """Shape of the tiny model; its vocabulary is `tiny_vocabulary()`."""
    vocabulary = tiny_vocabulary()
    mask_id = len(vocabulary.tokens) + vocabulary.specials.index(MASK_TOKEN)
    return replace(TINY_CONFIG, num_layers=num_layers, vocab_size=len(vocabulary), mask_token_id=mask_id)


def tiny_weights(config: ModelConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random float32 weights by Hugging Face name, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in sorted(expected_shapes(config).items()):
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 2:
            weights[name] = noise * (1.0 if "embed_tokens" in name else 2.0 / shape[1] ** 0.5)
        else:
            weights[name] = 1.0 + 0.1 * noise if "norm" in name else 0.1 * noise
    return weights


def write_tiny_checkpoint(
    folder: Path, *, seed: int = 0, num_layers: int = 2, num_shards: int = 1, dtype: torch.dtype = torch.float32
) -> Path:
    """Write config.json, tokenizer.json and the weights (sharded when `num_shards` > 1); returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(num_layers)
    weights = {name: tensor.to(dtype) for name, tensor in tiny_weights(config, seed).items()}
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer_json(tiny_vocabulary()), encoding="utf-8")
    if num_shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(weights)
    weight_map = {}
    for i in range(num_shards):
        shard = f"model-{i + 1:05}-of-{num_shards:05}.safetensors"
        part = {name: weights[name] for name in names[i::num_shards]}
        save_file(part, folder / shard, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def write_tiny_gguf(path: Path, *, seed: int = 0, num_layers: int = 2) -> Path:
    """Write the tiny model without its added tokens as a quantised GGUF, laid out like the real base files.

    The embedding is stored twice (Q5_0 and, finer, as Q8_0 output), linears in Q8_0, vectors in F32, two unused rows
    at the end of the vocabulary.
    """
    import gguf

    config = replace(tiny_config(num_layers), vocab_size=len(tiny_base_vocabulary()) + 2)
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_position)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    vocabulary = tiny_base_vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*vocabulary.tokens, *vocabulary.specials, "[PAD1]", "[PAD2]"])
    writer.add_token_types([1] * len(vocabulary.tokens) + [3] * len(vocabulary.specials) + [5, 5])
    writer.add_token_merges([f"{left} {right}" for left, right in vocabulary.merges])
    for name, tensor in tiny_weights(config, seed).items():
        values, q8_0 = tensor.numpy(), gguf.GGMLQuantizationType.Q8_0
        if tensor.ndim == 1:
            writer.add_tensor(gguf_name(name), values)
            continue
        if name == "model.embed_tokens.weight":
            coarse = gguf.GGMLQuantizationType.Q5_0
            writer.add_tensor("token_embd.weight", gguf.quantize(values, coarse), raw_dtype=coarse)
        writer.add_tensor(gguf_name(name), gguf.quantize(values, q8_0), raw_dtype=q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tiny_base_vocabulary() -> Vocabulary:
    """`tiny_vocabulary()` before the added tokens, as a base model has it."""
    return replace(tiny_vocabulary(), specials=QWEN_SPECIALS)


def gguf_name(name: str) -> str:
    """The GGUF name of a Hugging Face tensor; the tied embedding goes to its finer place."""
    top = {"model.embed_tokens.weight": "output.weight", "model.norm.weight": "output_norm.weight"}
    if name in top:
        return top[name]
    _, _, layer, *module, kind = name.split(".")
    short = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    return f"blk.{layer}.{short['.'.join(module)]}.{kind}"
