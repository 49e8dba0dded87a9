"""Keys and values of a whole sequence whose rows may be computed again at any place.

A diffusion model that sees both ways has no prefix that stays exact; it has rows that are fresh and rows that are
stale. So the cache is addressed by row: a window says where new rows go and how many rows they see. For a block-causal
model the rows before the active block are exact for ever, and `length` and `token_ids` say how many and which. It does
not know the network nor when a row is worth recomputing (`refresh.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.cache.rows import TokenRows
from model_runtime.errors import RequestError


class CanvasCache(TokenRows):
    """`TokenRows` written at any place; the first `length` of them are exact for good."""

    def __init__(
        self, num_layers: int, num_kv_heads: int, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(num_layers, num_kv_heads, head_dim, capacity, dtype, device)
        self._blocks = (0, 0)

    def window(self, start: int, num_visible: int) -> Window:
        """New rows from `start` on, seeing rows [0, num_visible); RequestError if there is no room for them."""
        if not 0 <= start <= num_visible <= self.capacity:
            raise RequestError(f"{num_visible} tokens do not fit the cache of {self.capacity}")
        return Window(self, start, num_visible)

    def commit(self, token_ids: Sequence[int]) -> None:
        """The rows behind the exact ones now hold these tokens, for good."""
        assert self.length + len(token_ids) <= self.capacity
        self._token_ids.extend(token_ids)

    def keep_common_prefix(self, token_ids: Sequence[int], block_size: int, offset: int = 0) -> int:
        """Keep the longest prefix shared with `token_ids` that ends between blocks; returns its length.

        A row has seen all of its block: it stays exact only while the whole block is the same. `offset`: the first
        block is that much shorter.
        """
        if (block_size, offset) != self._blocks:
            self.truncate(0)
            self._blocks = (block_size, offset)
        shared = self.num_shared(token_ids)
        self.truncate(max(0, (shared + offset) // block_size * block_size - offset))
        return self.length


@dataclass(frozen=True, slots=True)
class Window:
    """A place in the cache for the rows of one forward."""

    cache: CanvasCache
    start: int
    num_visible: int

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put rows (K, T, D) at `start`; returns views of every visible row, each (K, num_visible, D)."""
        return self.cache.put(layer, self.start, keys, values, self.num_visible)
