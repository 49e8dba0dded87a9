"""Rotary embedding of rows at given positions: part of a head, and Llama 3's stretched frequencies.

`rotary.py` serves rows that stand one behind the other; a canvas that is reordered, or recomputed in the middle of a
cached sequence, names its positions. Halves are paired as in the published weights (rotate-half).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model_runtime.families.config import RopeScaling


class PositionedRotary:
    """Cosines and sines of every position up to `num_positions`, float32, for the first `rotary_dim` of a head."""

    def __init__(
        self, rotary_dim: int, theta: float, num_positions: int, scaling: RopeScaling | None, device: torch.device
    ) -> None:
        steps = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device=device) / rotary_dim
        frequencies = 1.0 / theta**steps
        if scaling is not None:
            frequencies = stretched(frequencies, scaling)
        angles = torch.arange(num_positions, dtype=torch.float32, device=device)[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()
        self._cos = torch.cat([cos, cos], dim=-1)  # (positions, R)
        # The sign of the rotated half lives in the table: two multiplications and an addition a value.
        self._sin = torch.cat([-sin, sin], dim=-1)
        self._rotary_dim = rotary_dim

    def apply(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate rows x (T, H, D) standing at `positions` (T,); returns the type of x."""
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        wide = x[..., : self._rotary_dim].float()
        rotated = wide * cos + torch.roll(wide, self._rotary_dim // 2, dims=-1) * sin
        if self._rotary_dim == x.shape[-1]:
            return rotated.to(x.dtype)
        return torch.cat([rotated.to(x.dtype), x[..., self._rotary_dim :]], dim=-1)


def stretched(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1's frequencies: long waves divided by the factor, short ones kept, a ramp between (Meta 2024)."""
    waves = scaling.original_positions * frequencies / (2 * math.pi)  # turns within the original context
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    share = ((waves - low) / (high - low)).clamp(0.0, 1.0)
    return frequencies * (share + (1 - share) / scaling.factor)
