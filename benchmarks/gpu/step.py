"""One denoising step of a whole decoder on random weights: a captured graph, its floor, and the kernels' share."""

from __future__ import annotations

import torch

from benchmarks.gpu.cases import Shape
from model_runtime.kernels import Kernels, reference
from model_runtime.kernels.formats import pack_token_set, quantize_int8


class RandomDecoder:
    """The kernels of a Qwen2-shaped decoder in order, on random weights; for timing, not for text."""

    def __init__(
        self, shape: Shape, kind: str, dtype: torch.dtype, rows: int, context: int, device: torch.device
    ) -> None:
        self.shape, self.kind, self.rows = shape, kind, rows
        generator = torch.Generator(device=device).manual_seed(2)

        def random(*sizes: int) -> torch.Tensor:
            return (torch.randn(*sizes, generator=generator, device=device) * sizes[-1] ** -0.5).to(dtype)

        def weight(num_out: int, num_in: int) -> reference.Weight:
            dense = random(num_out, num_in)
            return quantize_int8(dense) if kind == "int8" else dense

        sizes = {
            "qkv": (shape.qkv, shape.hidden),
            "out": (shape.hidden, shape.heads * shape.head_dim),
            "gate_up": (2 * shape.width, shape.hidden),
            "down": (shape.hidden, shape.width),
        }
        capacity = context + rows
        self.layers = [{name: weight(*size) for name, size in sizes.items()} for _ in range(shape.layers)]
        self.caches = [
            [random(shape.kv_heads, capacity, shape.head_dim) for _ in range(2)] for _ in range(shape.layers)
        ]
        self.norm, self.bias = torch.ones(shape.hidden, dtype=dtype, device=device), random(shape.qkv)
        self.head = weight(shape.vocabulary, shape.hidden)
        self.table = reference.rope_table(capacity, shape.head_dim, 1e6).to(device)
        self.x = random(rows, shape.hidden)
        self.state = torch.tensor([context, rows // 4, rows], dtype=torch.int32, device=device)
        self.mask_id = shape.vocabulary - 1
        self.canvas = torch.full((rows,), self.mask_id, dtype=torch.int32, device=device)
        self.forbidden = pack_token_set(torch.tensor([self.mask_id], device=device), shape.vocabulary)
        self.thresholds = torch.tensor([0.9, 0.9], device=device)

    def num_bytes(self) -> int:
        """Least traffic of a step: weights and cache once."""
        weights = [w for layer in self.layers for w in layer.values()] + [self.head]
        sizes = [w if isinstance(w, torch.Tensor) else w.values for w in weights]
        return sum(t.numel() * t.element_size() for t in [*sizes, *(c for pair in self.caches for c in pair)])

    def step(self, kernels: Kernels) -> reference.HeadResult:
        """One forward and one commit decision."""
        linear = kernels.linear_int8 if self.kind == "int8" else kernels.linear_dense
        shape, x, residual = self.shape, self.x, None
        for layer, (keys, values) in zip(self.layers, self.caches, strict=True):
            x, residual = kernels.rms_norm(x, self.norm, 1e-6, residual)
            q = kernels.qkv_rope_write(linear(x, layer["qkv"]), self.bias, self.table, self.state, keys, values)
            attended = kernels.block_attention(q, keys, values, self.state, shape.head_dim**-0.5)
            x = linear(attended.view(self.rows, -1), layer["out"])
            x, residual = kernels.rms_norm(x, self.norm, 1e-6, residual)
            x = linear(kernels.swiglu(linear(x, layer["gate_up"])), layer["down"])
        x, _ = kernels.rms_norm(x, self.norm, 1e-6, residual)
        return kernels.head_argmax(x, self.head, self.canvas, self.thresholds, self.mask_id, self.forbidden)
