"""A low-rank addition to a linear that acts on the canvas rows of a forward and on no others.

The gate is a row count, not a multiplication by zero: committed rows take exactly the base's path, so their keys,
values and logits are the base's bit for bit, whatever the adapter has learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.layers.linear import Linear


@dataclass(frozen=True, slots=True)
class Factors:
    """One adapted weight of a fused linear: `down` (rank, in), `up` (out, rank) with the adapter's scale in it."""

    down: Tensor
    up: Tensor


class GatedLinear:
    """A linear whose last rows also get `up(down(x))`; parts of a fused weight keep their own factors."""

    def __init__(self, linear: Linear, parts: Sequence[Factors], dtype: torch.dtype, device: torch.device) -> None:
        """`parts` in the order of the fused outputs, one for each; empty for a linear without an adapter."""
        self._linear = linear
        self._down = self._up = None
        if parts:
            down, up = fused_factors(parts)
            self._down = down.T.contiguous().to(device, dtype)  # (in, ranks)
            self._up = up.T.contiguous().to(device, dtype)  # (ranks, out)

    def __call__(self, x: Tensor, num_canvas: int) -> Tensor:
        """x (T, in), the last `num_canvas` rows through the adapter as well; returns (T, out)."""
        y = self._linear(x)
        if num_canvas and self._down is not None and self._up is not None:
            canvas = x[x.shape[0] - num_canvas :].to(self._down.dtype)
            y[y.shape[0] - num_canvas :] += (canvas @ self._down) @ self._up
        return y

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights and factors."""
        factors = [each for each in (self._down, self._up) if each is not None]
        return self._linear.num_bytes + sum(each.numel() * each.element_size() for each in factors)


def fused_factors(parts: Sequence[Factors]) -> tuple[Tensor, Tensor]:
    """down (sum of ranks, in) and up (sum of outs, sum of ranks) of the weight that stacks those of `parts`."""
    return torch.cat([part.down for part in parts]), _block_diagonal([part.up for part in parts])


def _block_diagonal(blocks: Sequence[Tensor]) -> Tensor:
    """(sum of outs, sum of ranks), each part's outputs fed by its own ranks."""
    result = blocks[0].new_zeros(sum(block.shape[0] for block in blocks), sum(block.shape[1] for block in blocks))
    row = column = 0
    for block in blocks:
        result[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return result
