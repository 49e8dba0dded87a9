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

from model_runtime.errors import RequestError


class CanvasCache:
    """Per layer: keys and values (K, capacity, D), K key/value heads."""

    def __init__(
        self, num_layers: int, num_kv_heads: int, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (num_layers, num_kv_heads, capacity, head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._token_ids: list[int] = []
        self._blocks = (0, 0)
        self.capacity = capacity

    @property
    def length(self) -> int:
        """Rows at the front that are exact for good."""
        return len(self._token_ids)

    @property
    def token_ids(self) -> Sequence[int]:
        """Tokens of those rows."""
        return self._token_ids

    @property
    def num_bytes(self) -> int:
        """Memory held."""
        return 2 * self._keys.numel() * self._keys.element_size()

    def window(self, start: int, num_visible: int) -> Window:
        """New rows from `start` on, seeing rows [0, num_visible); RequestError if there is no room for them."""
        if not 0 <= start <= num_visible <= self.capacity:
            raise RequestError(f"{num_visible} tokens do not fit the cache of {self.capacity}")
        return Window(self._keys, self._values, start, num_visible)

    def commit(self, token_ids: Sequence[int]) -> None:
        """The rows behind the exact ones now hold these tokens, for good."""
        assert self.length + len(token_ids) <= self.capacity
        self._token_ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Only the first `length` rows stay exact."""
        assert 0 <= length <= self.length
        del self._token_ids[length:]

    def keep_common_prefix(self, token_ids: Sequence[int], block_size: int, offset: int = 0) -> int:
        """Keep the longest prefix shared with `token_ids` that ends between blocks; returns its length.

        A row has seen all of its block: it stays exact only while the whole block is the same. `offset`: the first
        block is that much shorter.
        """
        shared = 0
        if (block_size, offset) != self._blocks:
            self.truncate(0)
            self._blocks = (block_size, offset)
        for ours, theirs in zip(self._token_ids, token_ids, strict=False):
            if ours != theirs:
                break
            shared += 1
        self.truncate(max(0, (shared + offset) // block_size * block_size - offset))
        return self.length


@dataclass(frozen=True, slots=True)
class Window:
    """A place in the cache for the rows of one forward."""

    keys: Tensor
    values: Tensor
    start: int
    num_visible: int

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put rows (K, T, D) at `start`; returns views of every visible row, each (K, num_visible, D)."""
        stop = self.start + keys.shape[1]
        layer_keys, layer_values = self.keys[layer], self.values[layer]
        layer_keys[:, self.start : stop] = keys
        layer_values[:, self.start : stop] = values
        return layer_keys[:, : self.num_visible], layer_values[:, : self.num_visible]
