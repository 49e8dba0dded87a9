"""Exact keys and values of one committed token sequence.

Owns the tensors and the list of token ids they stand for. A forward writes rows behind the committed length; only
`commit` makes them part of the sequence, so a rejected draft costs nothing to undo. It does not know the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model_runtime.errors import RequestError


class KeyValueCache:
    """Per layer: keys and values (H, capacity, D), H key/value heads. Rows `[0, length)` are committed."""

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
        """Committed tokens."""
        return len(self._token_ids)

    @property
    def token_ids(self) -> Sequence[int]:
        """The committed tokens, oldest first."""
        return self._token_ids

    @property
    def num_bytes(self) -> int:
        """Memory held."""
        return 2 * self._keys.numel() * self._keys.element_size()

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put rows (H, T, D) behind the committed ones; returns views of all rows, each (H, length + T, D)."""
        start, stop = self.length, self.length + keys.shape[1]
        layer_keys, layer_values = self._keys[layer], self._values[layer]
        layer_keys[:, start:stop] = keys
        layer_values[:, start:stop] = values
        return layer_keys[:, :stop], layer_values[:, :stop]

    def require_room(self, num_rows: int) -> None:
        """RequestError if that many more rows do not fit."""
        if self.length + num_rows > self.capacity:
            raise RequestError(f"{self.length} + {num_rows} tokens do not fit the cache of {self.capacity}")

    def commit(self, token_ids: Sequence[int]) -> None:
        """Make the first `len(token_ids)` rows of the last forward part of the sequence."""
        assert self.length + len(token_ids) <= self.capacity
        self._token_ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        assert 0 <= length <= self.length
        del self._token_ids[length:]

    def keep_common_prefix(self, token_ids: Sequence[int]) -> int:
        """Truncate to the longest prefix shared with `token_ids`; returns its length."""
        shared = 0
        for ours, theirs in zip(self._token_ids, token_ids, strict=False):
            if ours != theirs:
                break
            shared += 1
        self.truncate(shared)
        return shared
