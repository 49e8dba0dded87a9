"""Low-rank adapters while they train: a frozen linear with two small trainable factors.

The gated form acts only on chosen rows (masked canvas positions), so every other row is the base's exactly. Knows
nothing of layers or losses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class LoraLinear(nn.Module):
    """`x W^T + bias`, plus `scale * (x A^T) B^T` once `attach` was called. W and bias never receive gradient."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.lora_a: nn.Parameter | None = None
        self.lora_b: nn.Parameter | None = None
        self.scale = 0.0

    def attach(self, rank: int, alpha: float, generator: torch.Generator) -> None:
        """Add trainable float32 factors: A random, B zero, so that the output does not change yet."""
        out_features, in_features = self.weight.shape
        bound = 1 / math.sqrt(in_features)
        a = torch.empty(rank, in_features, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
        self.lora_a = nn.Parameter(a)
        self.lora_b = nn.Parameter(torch.zeros(out_features, rank, dtype=torch.float32))
        self.scale = alpha / rank

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """x (T, in) -> (T, out); `gate` (T, 1) of 0 and 1 names the rows the adapter acts on, None means all."""
        y = functional.linear(x, self.weight, self.bias)
        if self.lora_a is None or self.lora_b is None:
            return y
        low = functional.linear(x, self.lora_a.to(x.dtype)) * self.scale  # (T, rank)
        if gate is not None:
            low = low * gate
        return y + functional.linear(low, self.lora_b.to(x.dtype))
