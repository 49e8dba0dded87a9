"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), halves paired as in the published Qwen weights."""

from __future__ import annotations

import torch
from torch import Tensor


class Rotary:
    """Table of cosines and sines for every position the cache can hold, float32."""

    def __init__(self, head_dim: int, theta: float, num_positions: int, device: torch.device) -> None:
        frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim)
        angles = torch.arange(num_positions, dtype=torch.float32, device=device)[:, None] * frequencies
        cos, sin = angles.cos(), angles.sin()  # (positions, D/2)
        self._cos = torch.cat([cos, cos], dim=-1)
        # The sign of the rotated half lives in the table, so applying it is two multiplications and an addition.
        self._sin = torch.cat([-sin, sin], dim=-1)

    def apply(self, x: Tensor, start: int) -> Tensor:
        """Rotate rows x (T, H, D) standing at positions `start`, `start + 1`, ...; returns the type of x."""
        num_rows, _, head_dim = x.shape
        cos = self._cos[start : start + num_rows, None]
        sin = self._sin[start : start + num_rows, None]
        wide = x.float()
        swapped = torch.roll(wide, head_dim // 2, dims=-1)
        return (wide * cos + swapped * sin).to(x.dtype)
