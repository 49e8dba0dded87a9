"""The Qwen2 decoder over the operation table: qwen2.py's arithmetic in the few launches the CUDA kernels make of it.

Every method reads what it works on (tokens, gate, state, cache) from memory at fixed addresses, waits for nothing and
asks the host nothing, so a captured graph of it can be replayed. The residual stream has the activation type. It does
not know graphs, steps or policies: cuda_path/ does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model_runtime.config import ModelConfig
from model_runtime.kernels import Kernels
from model_runtime.kernels.formats import (
    INT4_GROUP,
    Int4Weight,
    Int8Weight,
    LowRank,
    quantize_int4,
    quantize_int8,
)
from model_runtime.kernels.launch import MAX_ROWS
from model_runtime.kernels.reference import HeadResult, Weight, dequantize, rope_table
from model_runtime.layers.low_rank import Factors, fused_factors
from model_runtime.models.qwen2 import Denoiser, ReadTensor

WeightFormat = Literal["dense", "int8", "int4"]
"""How the linears are stored: in the activation type, or as 8- or 4-bit integers with scales."""

LayerMemory = Callable[[int], tuple[Tensor, Tensor]]
"""Layer -> its whole keys and values, each (kv_heads, capacity, head_dim)."""

_LOGITS_SLICE = 8192
"""Vocabulary rows that are widened to float32 at once where logits themselves are wanted."""


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Weight
    bias: Tensor | None = None
    adapter: LowRank | None = None


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of one decoder layer; q, k, v share a product, and so do gate and up."""

    input_norm: Tensor
    qkv: _Linear
    output: _Linear
    post_norm: Tensor
    gate_up: _Linear
    down: _Linear


def why_unsupported(config: ModelConfig, weights: WeightFormat) -> str | None:
    """What about this shape the kernels cannot do, in words, or None."""
    multiple = {"dense": 8, "int8": 16, "int4": INT4_GROUP}[weights]
    width = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    if config.head_dim not in (64, 128):
        return f"heads of {config.head_dim} (64 or 128 are supported)"
    for name, size in (("hidden size", config.hidden_size), ("intermediate size", config.intermediate_size)):
        if size % multiple:
            return f"{name} {size} (multiples of {multiple} are supported with {weights} weights)"
    if config.hidden_size > 8192 or width > 16384:
        return f"hidden size {config.hidden_size} with {width} columns of queries, keys and values"
    return None


class FusedQwen2:
    """A loaded network on one device. Immutable; the memory it works on is the caller's."""

    def __init__(
        self,
        config: ModelConfig,
        read: ReadTensor,
        kernels: Kernels,
        *,
        weights: WeightFormat,
        num_positions: int,
        dtype: torch.dtype,
        device: torch.device,
        denoiser: Denoiser | None = None,
    ) -> None:
        """`read` gives tensors by Hugging Face name. ValueError for a shape the kernels cannot do."""
        if (reason := why_unsupported(config, weights)) is not None:
            raise ValueError(f"the CUDA kernels cannot run {reason}")
        self.config, self.kernels, self.dtype, self.device = config, kernels, dtype, device
        self.has_denoiser = denoiser is not None
        self._weights = weights
        self._embedding = self._place(read("model.embed_tokens.weight"))
        is_tied = config.tie_word_embeddings
        # A tied dense head is the table itself: the mask, whose row is about to change, is never predicted.
        source = self._embedding if is_tied else self._place(read("lm_head.weight"))
        self._head: Weight = source if weights == "dense" else quantize_int8(source)
        if denoiser is not None:
            assert config.mask_token_id is not None
            self._embedding[config.mask_token_id] = denoiser.mask_embedding.to(self._embedding)
        self._layers = [self._read_layer(i, read, denoiser) for i in range(config.num_layers)]
        self._norm = self._place(read("model.norm.weight"))
        self._rope = rope_table(num_positions, config.head_dim, config.rope_theta).to(device)
        self._never_commit = torch.full((2,), 2.0, device=device)

    def hidden(self, ids: Tensor, gate: Tensor | None, state: Tensor, memory: LayerMemory) -> Tensor:
        """ids int32 (R,) behind the cached tokens -> (R, V) of the activation type; writes the rows' keys and values.

        `gate` float32 (R,) opens the denoiser's adapter row by row; None leaves it out. `state` as in the operations.
        """
        kernels, epsilon, scale = self.kernels, self.config.rms_norm_eps, self.config.head_dim**-0.5
        x, residual = self._embedding.index_select(0, ids), None
        for i, layer in enumerate(self._layers):
            keys, values = memory(i)
            x, residual = kernels.rms_norm(x, layer.input_norm, epsilon, residual)
            qkv = self._multiply(layer.qkv, x, gate)
            rope = self._rope[: keys.shape[1]]
            query = kernels.qkv_rope_write(qkv, layer.qkv.bias, rope, state, keys, values)
            attended = kernels.block_attention(query, keys, values, state, scale)
            x = self._multiply(layer.output, attended.view(len(ids), -1), gate)
            x, residual = kernels.rms_norm(x, layer.post_norm, epsilon, residual)
            x = self._multiply(layer.down, kernels.swiglu(self._multiply(layer.gate_up, x, gate)), gate)
        normed: Tensor = kernels.rms_norm(x, self._norm, epsilon, residual)[0]
        return normed

    def head(self, hidden: Tensor, judged: Tensor, forbidden: Tensor) -> HeadResult:
        """Every row's best token and its probability, and that of the token `judged` int32 (R,) names (-1: none)."""
        parts: list[HeadResult] = [
            self.kernels.head_argmax(
                hidden[first : first + MAX_ROWS],
                self._head,
                judged[first : first + MAX_ROWS],
                self._never_commit,
                -2,  # no token is a mask here: the commit is commit_run's
                forbidden,
            )
            for first in range(0, len(hidden), MAX_ROWS)
        ]
        if len(parts) == 1:
            return parts[0]
        return HeadResult(*(torch.cat([getattr(part, name) for part in parts]) for name in HeadResult.__slots__))

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (R, V) -> float32 (R, vocabulary), as the head sees them: for sampling, not for greedy steps."""
        wide = hidden.float()
        return torch.cat([wide @ dequantize(part, self.dtype).T for part in _slices(self._head)], dim=1)

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights."""
        total = _bytes_of(self._embedding)
        total += 0 if self._head is self._embedding else _bytes_of(self._head)
        for layer in self._layers:
            for linear in (layer.qkv, layer.output, layer.gate_up, layer.down):
                total += _bytes_of(linear.weight) + (0 if linear.adapter is None else _bytes_of(linear.adapter))
        return total

    @property
    def step_bytes(self) -> int:
        """What one step must read of the weights, however few its rows: all but an embedding table of its own."""
        return self.num_bytes - (0 if self._head is self._embedding else _bytes_of(self._embedding))

    def _multiply(self, linear: _Linear, x: Tensor, gate: Tensor | None) -> Tensor:
        """Without the bias of q, k, v: it is added where they are rotated."""
        adapter = linear.adapter if gate is not None else None
        result: Tensor
        if isinstance(linear.weight, Int8Weight):
            result = self.kernels.linear_int8(x, linear.weight, None, adapter, gate)
        elif isinstance(linear.weight, Int4Weight):
            result = self.kernels.linear_int4(x, linear.weight, None, adapter, gate)
        elif len(x) > MAX_ROWS and self.device.type == "cuda" and adapter is None:
            # Prompts: a product of many rows is bound by arithmetic, and torch's is the better one.
            result = torch.nn.functional.linear(x, linear.weight)
        else:
            result = self.kernels.linear_dense(x, linear.weight, None, adapter, gate)
        return result

    def _place(self, weight: Tensor) -> Tensor:
        return weight.to(self.device, self.dtype, copy=True).contiguous()

    def _read_layer(self, index: int, read: ReadTensor, denoiser: Denoiser | None) -> _Layer:
        prefix = f"model.layers.{index}."

        def fused(*names: str, has_bias: bool = False) -> _Linear:
            weight = self._place(torch.cat([read(f"{prefix}{name}.weight") for name in names]))
            bias = self._place(torch.cat([read(f"{prefix}{name}.bias") for name in names])) if has_bias else None
            found = [denoiser.factors_of(f"{prefix}{name}.weight") for name in names] if denoiser is not None else []
            parts = [factors for factors in found if factors is not None]
            assert len(parts) in (0, len(names))
            return _Linear(self._stored(weight), bias, self._adapter(parts))

        return _Layer(
            input_norm=self._place(read(f"{prefix}input_layernorm.weight")),
            qkv=fused("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", has_bias=self.config.attention_bias),
            output=fused("self_attn.o_proj"),
            post_norm=self._place(read(f"{prefix}post_attention_layernorm.weight")),
            gate_up=fused("mlp.gate_proj", "mlp.up_proj"),
            down=fused("mlp.down_proj"),
        )

    def _stored(self, weight: Tensor) -> Weight:
        if self._weights == "int8":
            return quantize_int8(weight)
        return quantize_int4(weight, self.dtype) if self._weights == "int4" else weight

    def _adapter(self, parts: list[Factors]) -> LowRank | None:
        """One adapter of the fused weight, its rank padded with zeros to the kernels' multiple of 8."""
        if not parts:
            return None
        down, up = fused_factors(parts)
        padding = -down.shape[0] % 8
        down = torch.nn.functional.pad(down, (0, 0, 0, padding))
        up = torch.nn.functional.pad(up, (0, padding))
        return LowRank(self._place(down), self._place(up))


def _slices(weight: Weight) -> Iterator[Weight]:
    """The weight in runs of at most _LOGITS_SLICE outputs."""
    tensors = (weight,) if isinstance(weight, Tensor) else tuple(getattr(weight, name) for name in weight.__slots__)
    for first in range(0, len(tensors[0]), _LOGITS_SLICE):
        parts = [tensor[first : first + _LOGITS_SLICE] for tensor in tensors]
        yield parts[0] if isinstance(weight, Tensor) else type(weight)(*parts)


def _bytes_of(weight: Weight | LowRank) -> int:
    tensors = [weight] if isinstance(weight, Tensor) else [getattr(weight, name) for name in weight.__slots__]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
