"""One decoder for every family of the table: Qwen2, Qwen3, Llama, LLaDA and LLaDA2.x shapes, top to bottom.

What differs is data: tensor names, biases, normalised queries and keys, rotating dimensions, experts. Who sees whom is
the caller's: a forward takes rows, their positions, a place in a cache and a mask among the new rows. `forward` is the
same for the autoregressive loop, which the bases are decoded with. Rows are (T, V): one sequence, no batch axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model_runtime.cache.canvas_cache import CanvasCache
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.config import ModelConfig
from model_runtime.families.config import FamilyConfig
from model_runtime.families.names import weight_names
from model_runtime.layers.attention import attend, attend_exact, block_mask
from model_runtime.layers.linear import Int8Linear, Linear, serial_between_products
from model_runtime.layers.norm import RmsNorm
from model_runtime.layers.rotary_positions import PositionedRotary
from model_runtime.models.experts import FeedForward, GatedFeedForward, read_mixture

ReadTensor = Callable[[str], Tensor]
ReadLinear = Callable[[tuple[str, ...], bool], Linear]
"""Weight names (without `.weight`) to be multiplied as one, whether they have biases -> the layer on the device."""
Write = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]


class CacheWindow(Protocol):
    """Where new keys and values go, and which rows they see."""

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put rows (K, T, D) in place; returns all visible rows, the new ones last or every row seen by all."""


@dataclass(frozen=True, slots=True)
class _Layer:
    input_norm: RmsNorm
    qkv: Linear
    query_norm: RmsNorm | None
    key_norm: RmsNorm | None
    output: Linear
    post_norm: RmsNorm
    feed_forward: FeedForward


class Decoder:
    """A loaded network on one device. Immutable; the caches it works on are the caller's."""

    has_denoiser = False

    def __init__(
        self,
        family_config: FamilyConfig,
        read: ReadTensor,
        read_linear: ReadLinear,
        *,
        num_positions: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """`read` gives tensors by published name, `read_linear` layers on the device."""
        self.family_config = family_config
        self.config: ModelConfig = family_config.shape
        self.dtype = dtype
        self.device = device
        names = self._names = weight_names(family_config)
        self._embedding = read(f"{names.embedding}.weight").to(device)
        self._read, self._read_linear = read, read_linear
        self._layers = [self._read_layer(i) for i in range(self.config.num_layers)]
        del self._read, self._read_linear
        self._norm = RmsNorm(read(f"{names.norm}.weight").to(device), self.config.rms_norm_eps)
        is_tied = self.config.tie_word_embeddings
        self._head = read_linear((names.embedding if is_tied else names.head,), False)
        self._rotary = PositionedRotary(
            family_config.rotary_dim, self.config.rope_theta, num_positions, family_config.rope_scaling, device
        )

    def new_cache(self, capacity: int) -> KeyValueCache:
        """An empty cache for the autoregressive loop."""
        config = self.config
        return KeyValueCache(config.num_layers, config.num_kv_heads, config.head_dim, capacity, self.dtype, self.device)

    def new_canvas_cache(self, capacity: int) -> CanvasCache:
        """An empty cache for the diffusion loops."""
        config = self.config
        return CanvasCache(config.num_layers, config.num_kv_heads, config.head_dim, capacity, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int = 0, *, is_prompt: bool = False
    ) -> Tensor:
        """Rows behind the committed ones, causal but for the last `num_canvas`; as `Qwen2.forward`."""
        num_rows = token_ids.shape[0]
        cache.require_room(num_rows)
        positions = torch.arange(cache.length, cache.length + num_rows, device=self.device)
        if is_prompt or self.device.type != "cpu":
            mask = block_mask(num_rows, num_canvas, self.device)
            return self._forward(token_ids, positions, cache.write, lambda q, k, v: attend(q, k, v, mask))
        exact = lambda q, k, v: attend_exact(q, k, v, num_canvas)  # noqa: E731
        if not isinstance(self._head, Int8Linear):
            return self._forward(token_ids, positions, cache.write, exact)
        with serial_between_products():
            return self._forward(token_ids, positions, cache.write, exact)

    @torch.inference_mode()
    def forward_canvas(
        self, token_ids: Tensor, positions: Tensor, window: CacheWindow, mask: Tensor | None = None
    ) -> Tensor:
        """token_ids, positions (T,); mask (T, T) to add to the scores of the new rows among themselves, None: all seen.

        Rows of the window before the new ones are seen by every row. Returns hidden states (T, V).
        """
        return self._forward(token_ids, positions, window.write, lambda q, k, v: attend(q, k, v, mask))

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (R, V) -> float32 (R, vocabulary)."""
        return self._head(hidden).float()

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights."""
        total = self._embedding.numel() * self._embedding.element_size() + self._head.num_bytes
        return total + sum(
            each.qkv.num_bytes + each.output.num_bytes + each.feed_forward.num_bytes for each in self._layers
        )

    def _forward(
        self, token_ids: Tensor, positions: Tensor, write: Write, attention: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        x = self._embedding[token_ids].float()  # (T, V), the residual stream stays float32
        for i, layer in enumerate(self._layers):
            x = x + self._attend(i, layer, layer.input_norm(x), positions, write, attention)
            x = x + layer.feed_forward(layer.post_norm(x))
        return self._norm(x)

    def _attend(
        self,
        index: int,
        layer: _Layer,
        x: Tensor,
        positions: Tensor,
        write: Write,
        attention: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        config = self.config
        heads = layer.qkv(x).view(x.shape[0], -1, config.head_dim)  # (T, H + 2K, D)
        num_query, num_rotated = config.num_heads, config.num_heads + config.num_kv_heads
        query, key, value = heads[:, :num_query], heads[:, num_query:num_rotated], heads[:, num_rotated:]
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = layer.query_norm(query), layer.key_norm(key)
        query, key = self._rotary.apply(query, positions), self._rotary.apply(key, positions)
        keys, values = write(index, key.transpose(0, 1), value.transpose(0, 1))
        return layer.output(attention(query.to(self.dtype).contiguous(), keys, values))

    def _read_layer(self, index: int) -> _Layer:
        names, config = self._names, self.family_config
        prefix = names.layer.format(index)
        qkv = tuple(prefix + name for name in names.qkv)
        return _Layer(
            input_norm=self._norm_of(prefix + names.input_norm),
            qkv=self._read_linear(qkv, self.config.attention_bias),
            query_norm=self._norm_of(prefix + names.query_norm) if config.qk_norm else None,
            key_norm=self._norm_of(prefix + names.key_norm) if config.qk_norm else None,
            output=self._read_linear((prefix + names.output,), False),
            post_norm=self._norm_of(prefix + names.post_norm),
            feed_forward=self._read_feed_forward(index),
        )

    def _read_feed_forward(self, index: int) -> FeedForward:
        names, experts = self._names, self.family_config.experts
        prefix = names.layer.format(index)

        def gated(gate: str, up: str, down: str) -> GatedFeedForward:
            gate_up = self._read_linear((prefix + gate, prefix + up), False)
            return GatedFeedForward(gate_up, self._read_linear((prefix + down,), False))

        if experts is None or index < experts.first_layer:
            return gated(names.gate, names.up, names.down)
        return read_mixture(
            experts,
            lambda name: self._read(name).to(self.device),
            lambda part: gated(f"{part}gate_proj", f"{part}up_proj", f"{part}down_proj"),
            router=f"{prefix}{names.router}.weight",
            router_bias=prefix + names.router_bias,
            expert=names.expert,
            shared=names.shared,
        )

    def _norm_of(self, name: str) -> RmsNorm:
        return RmsNorm(self._read(f"{name}.weight").to(self.device), self.config.rms_norm_eps)
