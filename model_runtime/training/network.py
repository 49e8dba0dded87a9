"""The Qwen2 network as training needs it: packed sequences, any attention mask, adapters inside, gradients.

The decoder's network (models/) is built for one cache and speed; this one is built for backward passes over many
short sequences laid end to end. A test holds the two to the same logits. Matrix products run in the loaded type
(bfloat16 where the CPU or GPU has units for it), the residual stream and norms in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_runtime.adapters import Adapter, merged_weight
from model_runtime.checkpoint import Checkpoint
from model_runtime.config import ModelConfig
from model_runtime.errors import CheckpointMismatch
from model_runtime.training.lora import LoraLinear

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(slots=True)
class KeyValues:
    """Keys and values of one layer so far, (B, H, T, D); grows while decoding."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions; returns all."""
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)
        return self.keys, self.values


@dataclass(frozen=True, slots=True)
class Rotary:
    """Cosines and sines of the positions at hand, each (B, 1, T, D), float32."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(cls, positions: Tensor, config: ModelConfig) -> Rotary:
        """positions (B, T)."""
        frequencies = config.rope_theta ** -(torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim)
        angles = positions.float()[..., None] * frequencies.to(positions.device)  # (B, T, D/2)
        angles = torch.cat([angles, angles], dim=-1)[:, None]  # (B, 1, T, D)
        return cls(angles.cos(), angles.sin())

    def apply(self, x: Tensor) -> Tensor:
        """Rotate x (B, H, T, D), halves paired as in the published weights."""
        first, second = x.float().chunk(2, dim=-1)
        rotated = torch.cat([-second, first], dim=-1)
        return (x.float() * self.cos + rotated * self.sin).to(x.dtype)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x (..., V) float32, normalised by its root mean square."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight


class Layer(nn.Module):
    """One decoder layer."""

    input_norm: Tensor
    post_norm: Tensor

    def __init__(self, checkpoint: Checkpoint, index: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = checkpoint.config
        prefix = f"model.layers.{index}."
        self.register_buffer("input_norm", checkpoint.read(prefix + "input_layernorm.weight").float(), persistent=False)
        self.register_buffer(
            "post_norm", checkpoint.read(prefix + "post_attention_layernorm.weight").float(), persistent=False
        )
        self.linears = nn.ModuleDict()
        self.weight_names: dict[str, str] = {}
        for name in LINEARS:
            path = f"{prefix}{'mlp' if name in LINEARS[4:] else 'self_attn'}.{name}"
            bias = checkpoint.read(f"{path}.bias").to(dtype) if name in LINEARS[:3] else None
            self.linears[name] = LoraLinear(checkpoint.read(f"{path}.weight").to(dtype), bias)
            self.weight_names[name] = f"{path}.weight"

    def forward(
        self, x: Tensor, rotary: Rotary, mask: Tensor | None, gate: Tensor | None, cache: KeyValues | None
    ) -> Tensor:
        """x (B, T, V) float32; mask (B, 1, T, S) of booleans, True where a query may look, None means causal."""
        normed = rms_norm(x, self.input_norm, self.config.rms_norm_eps).to(self._dtype)
        x = x + self._attend(normed, rotary, mask, gate, cache)
        normed = rms_norm(x, self.post_norm, self.config.rms_norm_eps).to(self._dtype)
        linears = self.linears
        inner = functional.silu(linears["gate_proj"](normed, gate)) * linears["up_proj"](normed, gate)
        result: Tensor = x + linears["down_proj"](inner, gate).float()
        return result

    @property
    def _dtype(self) -> torch.dtype:
        weight = self.linears["q_proj"].weight
        assert isinstance(weight, Tensor)
        return weight.dtype

    def _attend(
        self, x: Tensor, rotary: Rotary, mask: Tensor | None, gate: Tensor | None, cache: KeyValues | None
    ) -> Tensor:
        config, linears = self.config, self.linears
        heads = {
            name: linears[f"{name}_proj"](x, gate).unflatten(-1, (-1, config.head_dim)).transpose(1, 2)
            for name in "qkv"
        }  # (B, H, T, D)
        query, key, value = rotary.apply(heads["q"]), rotary.apply(heads["k"]), heads["v"]
        if cache is not None:
            key, value = cache.append(key, value)
        groups = config.num_heads // config.num_kv_heads
        attended = functional.scaled_dot_product_attention(
            query,
            key.repeat_interleave(groups, dim=1),
            value.repeat_interleave(groups, dim=1),
            attn_mask=mask,
            is_causal=mask is None,
        )
        result: Tensor = linears["o_proj"](attended.transpose(1, 2).flatten(-2), gate).float()
        return result


class TrainingNetwork(nn.Module):
    """The whole network, base frozen."""

    embedding: Tensor
    head: Tensor
    norm: Tensor

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = checkpoint.config
        embedding = checkpoint.read("model.embed_tokens.weight").to(dtype)
        head = embedding if self.config.tie_word_embeddings else checkpoint.read("lm_head.weight").to(dtype)
        self.register_buffer("embedding", embedding, persistent=False)
        self.register_buffer("head", head, persistent=False)
        self.register_buffer("norm", checkpoint.read("model.norm.weight").float(), persistent=False)
        self.layers = nn.ModuleList(Layer(checkpoint, i, dtype) for i in range(self.config.num_layers))

    def attach_adapter(self, layers: range, rank: int, alpha: float, seed: int) -> None:
        """Make every linear of these layers trainable through low-rank factors."""
        generator = torch.Generator().manual_seed(seed)
        for index in layers:
            for linear in self.layers[index].linears.values():  # type: ignore[operator]
                linear.attach(rank, alpha, generator)

    def adapted_linears(self) -> Iterator[tuple[str, LoraLinear]]:
        """Hugging Face weight name and module of every adapted linear, in order."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            for name, linear in layer.linears.items():
                assert isinstance(linear, LoraLinear)
                if linear.lora_a is not None:
                    yield layer.weight_names[name], linear

    def merge(self, adapter: Adapter) -> None:
        """Add a read adapter to the frozen weights for good."""
        remaining = set(adapter.factors)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            for name, linear in layer.linears.items():
                assert isinstance(linear, LoraLinear)
                linear.weight = merged_weight(linear.weight, adapter, layer.weight_names[name])
                remaining.discard(layer.weight_names[name])
        if remaining:
            raise CheckpointMismatch(f"the adapter changes {min(remaining)!r}, which this model does not have")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.device

    def embed(self, ids: Tensor) -> Tensor:
        """ids (B, T) -> (B, T, V) float32."""
        return functional.embedding(ids, self.embedding).float()

    def run_layers(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        gate: Tensor | None = None,
        layers: range | None = None,
        caches: list[KeyValues] | None = None,
    ) -> Tensor:
        """x (B, T, V) float32 through some layers (all by default); see Layer for the mask."""
        rotary = Rotary.at(positions, self.config)
        for index in layers if layers is not None else range(self.config.num_layers):
            x = self.layers[index](x, rotary, mask, gate, caches[index] if caches is not None else None)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Final hidden rows (N, V) -> float32 logits (N, vocabulary)."""
        return functional.linear(self.normed(x).to(self.head.dtype), self.head).float()

    def normed(self, x: Tensor) -> Tensor:
        """Final hidden rows (N, V) as the head reads them, float32."""
        return rms_norm(x, self.norm, self.config.rms_norm_eps)


def adapter_parameters(network: TrainingNetwork) -> dict[str, nn.Parameter]:
    """Trainable parameters by name: NAME.lora_a, NAME.lora_b."""
    parameters = {}
    for name, linear in network.adapted_linears():
        assert linear.lora_a is not None and linear.lora_b is not None
        parameters[f"{name}.lora_a"], parameters[f"{name}.lora_b"] = linear.lora_a, linear.lora_b
    return parameters
