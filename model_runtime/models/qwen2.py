"""The Qwen2 decoder (Qwen team 2024, arXiv 2407.10671) over an exact cache and an active block, top to bottom.

One forward takes the rows behind the committed tokens: first causal rows, then `num_canvas` rows that see everything.
It writes their keys and values behind the cache's length and commits nothing: the caller decides what to keep. It
does not know tokens' meaning, policies or prompts. Rows are (T, V) throughout: one sequence, no batch axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.config import ModelConfig
from model_runtime.layers.attention import attend, attend_exact, block_mask
from model_runtime.layers.linear import Int8Linear, Linear, serial_between_products
from model_runtime.layers.low_rank import Factors, GatedLinear
from model_runtime.layers.norm import RmsNorm
from model_runtime.layers.rotary import Rotary

ReadTensor = Callable[[str], Tensor]
MakeLinear = Callable[[Tensor, Tensor | None], Linear]
FactorsOf = Callable[[str], Factors | None]


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of one decoder layer; q, k, v share a product, and so do gate and up."""

    input_norm: RmsNorm
    qkv: GatedLinear
    output: GatedLinear
    post_norm: RmsNorm
    gate_up: GatedLinear
    down: GatedLinear


@dataclass(frozen=True, slots=True)
class Denoiser:
    """What makes masked rows draft: factors by Hugging Face weight name, and the embedding of a masked position."""

    factors_of: FactorsOf
    mask_embedding: Tensor
    """(V,)"""


class Qwen2:
    """A loaded network on one device. Immutable; the cache it works on is the caller's."""

    def __init__(
        self,
        config: ModelConfig,
        read: ReadTensor,
        make_linear: MakeLinear,
        *,
        num_positions: int,
        dtype: torch.dtype,
        device: torch.device,
        denoiser: Denoiser | None = None,
    ) -> None:
        """`read` gives tensors by Hugging Face name; `make_linear` turns (weight, bias) into a layer on the device."""
        self.config = config
        self.has_denoiser = denoiser is not None
        self.dtype = dtype
        self.device = device
        # Rows are looked up, not multiplied: the stored type will do, and half precision halves the table.
        self._embedding = read("model.embed_tokens.weight").to(device)
        if denoiser is not None:
            # The mask is never a committed token: its row of the table is free to hold what a masked position needs.
            assert config.mask_token_id is not None
            self._embedding = self._embedding.clone()
            self._embedding[config.mask_token_id] = denoiser.mask_embedding.to(self._embedding)
        factors_of = denoiser.factors_of if denoiser is not None else _no_factors
        self._layers = [self._read_layer(i, read, make_linear, factors_of) for i in range(config.num_layers)]
        self._norm = RmsNorm(read("model.norm.weight").to(device), config.rms_norm_eps)
        head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
        self._head = make_linear(read(head), None)
        self._rotary = Rotary(config.head_dim, config.rope_theta, num_positions, device)

    def new_cache(self, capacity: int) -> KeyValueCache:
        """An empty cache for this network, of the type attention computes in."""
        config = self.config
        return KeyValueCache(config.num_layers, config.num_kv_heads, config.head_dim, capacity, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int = 0, *, is_prompt: bool = False
    ) -> Tensor:
        """token_ids (T,) behind the committed ones, the last `num_canvas` bidirectional; returns hidden states (T, V).

        `is_prompt` rows are computed together, faster; others to the last bit as if each causal row came alone.
        RequestError if the rows do not fit the cache.
        """
        cache.require_room(token_ids.shape[0])
        if is_prompt or not isinstance(self._head, Int8Linear):
            return self._forward(token_ids, cache, num_canvas, is_prompt)
        with serial_between_products():
            return self._forward(token_ids, cache, num_canvas, is_prompt)

    def _forward(self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int, is_prompt: bool) -> Tensor:
        num_rows = token_ids.shape[0]
        start = cache.length
        mask = block_mask(num_rows, num_canvas, self.device) if is_prompt or self.device.type != "cpu" else None
        x = self._embedding[token_ids].float()  # (T, V), the residual stream stays float32
        for i, layer in enumerate(self._layers):
            x = x + self._attend(i, layer, layer.input_norm(x), cache, start, mask, num_canvas)
            gate, up = layer.gate_up(layer.post_norm(x), num_canvas).chunk(2, dim=-1)
            x = x + layer.down(torch.nn.functional.silu(gate) * up, num_canvas)
        return self._norm(x)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (R, V) -> float32 (R, vocabulary)."""
        return self._head(hidden).float()

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights."""
        embedding = self._embedding.numel() * self._embedding.element_size()
        total = embedding + self._head.num_bytes
        for layer in self._layers:
            for linear in (layer.qkv, layer.output, layer.gate_up, layer.down):
                total += linear.num_bytes
        return total

    def _attend(
        self,
        index: int,
        layer: _Layer,
        x: Tensor,
        cache: KeyValueCache,
        start: int,
        mask: Tensor | None,
        num_canvas: int,
    ) -> Tensor:
        config = self.config
        num_rotated = config.num_heads + config.num_kv_heads
        heads = layer.qkv(x, num_canvas).view(x.shape[0], -1, config.head_dim)  # (T, H + 2K, D)
        rotated = self._rotary.apply(heads[:, :num_rotated], start)
        query, key = rotated[:, : config.num_heads], rotated[:, config.num_heads :]
        value = heads[:, num_rotated:]
        keys, values = cache.write(index, key.transpose(0, 1), value.transpose(0, 1))
        query = query.to(self.dtype)
        attended = attend_exact(query, keys, values, num_canvas) if mask is None else attend(query, keys, values, mask)
        return layer.output(attended, num_canvas)

    def _read_layer(self, index: int, read: ReadTensor, make_linear: MakeLinear, factors_of: FactorsOf) -> _Layer:
        prefix, epsilon = f"model.layers.{index}.", self.config.rms_norm_eps

        def fused(*names: str, has_bias: bool = False) -> GatedLinear:
            weight = torch.cat([read(f"{prefix}{name}.weight") for name in names])
            bias = torch.cat([read(f"{prefix}{name}.bias") for name in names]) if has_bias else None
            parts = [factors for name in names if (factors := factors_of(f"{prefix}{name}.weight")) is not None]
            assert len(parts) in (0, len(names))
            return GatedLinear(make_linear(weight, bias), parts, self.dtype, self.device)

        return _Layer(
            input_norm=RmsNorm(read(f"{prefix}input_layernorm.weight").to(self.device), epsilon),
            qkv=fused("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", has_bias=self.config.attention_bias),
            output=fused("self_attn.o_proj"),
            post_norm=RmsNorm(read(f"{prefix}post_attention_layernorm.weight").to(self.device), epsilon),
            gate_up=fused("mlp.gate_proj", "mlp.up_proj"),
            down=fused("mlp.down_proj"),
        )


def _no_factors(name: str) -> Factors | None:
    return None
