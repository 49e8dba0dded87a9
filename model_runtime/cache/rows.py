"""What both caches are: tensors of keys and values, and the token ids of the rows that stay. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class TokenRows:
    """Per layer: keys and values (K, capacity, D), K key/value heads. Rows `[0, length)` stand for `token_ids`."""

    def __init__(
        self, num_layers: int, num_kv_heads: int, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (num_layers, num_kv_heads, capacity, head_dim)
        self._keys = torch.zeros(shape, dtype=dtype, device=device)
        self._values = torch.zeros(shape, dtype=dtype, device=device)
        self._token_ids: list[int] = []
        self.capacity = capacity

    @property
    def length(self) -> int:
        """Rows at the front that are exact for good."""
        return len(self._token_ids)

    @property
    def token_ids(self) -> Sequence[int]:
        """Their tokens, oldest first."""
        return self._token_ids

    @property
    def num_bytes(self) -> int:
        """Memory held."""
        return 2 * self._keys.numel() * self._keys.element_size()

    def truncate(self, length: int) -> None:
        """Only the first `length` rows stay."""
        assert 0 <= length <= self.length
        del self._token_ids[length:]

    def num_shared(self, token_ids: Sequence[int]) -> int:
        """Length of the longest prefix shared with `token_ids`."""
        shared = 0
        for ours, theirs in zip(self._token_ids, token_ids, strict=False):
            if ours != theirs:
                break
            shared += 1
        return shared

    def put(self, layer: int, start: int, keys: Tensor, values: Tensor, num_visible: int) -> tuple[Tensor, Tensor]:
        """Write rows (K, T, D) from `start` on; returns views of the first `num_visible` rows."""
        stop = start + keys.shape[1]
        layer_keys, layer_values = self._keys[layer], self._values[layer]
        layer_keys[:, start:stop] = keys
        layer_values[:, start:stop] = values
        return layer_keys[:, :num_visible], layer_values[:, :num_visible]
