"""Exact keys and values of one committed token sequence.

Owns the tensors and the list of token ids they stand for. A forward writes rows behind the committed length; only
`commit` makes them part of the sequence, so a rejected draft costs nothing to undo. It does not know the network.

Rows may have been computed in two ways, which differ by rounding: in whole blocks of a prompt, or one by one. The cache
counts the former (`num_prompt_rows`), so that its user (prefix.py) can tell which rows another prompt may share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model_runtime.cache.rows import TokenRows
from model_runtime.errors import RequestError


class KeyValueCache(TokenRows):
    """`TokenRows` that grow at their end: rows `[0, length)` are committed."""

    def __init__(
        self, num_layers: int, num_kv_heads: int, head_dim: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(num_layers, num_kv_heads, head_dim, capacity, dtype, device)
        self._num_prompt_rows = 0

    @property
    def num_prompt_rows(self) -> int:
        """How many rows from the start were computed in whole blocks."""
        return self._num_prompt_rows

    @property
    def bytes_per_token(self) -> int:
        """Memory of one token's keys and values in all layers."""
        return self.num_bytes // self.capacity

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put rows (H, T, D) behind the committed ones; returns views of all rows, each (H, length + T, D)."""
        return self.put(layer, self.length, keys, values, self.length + keys.shape[1])

    def require_room(self, num_rows: int) -> None:
        """RequestError if that many more rows do not fit."""
        if self.length + num_rows > self.capacity:
            raise RequestError(f"{self.length} + {num_rows} tokens do not fit the cache of {self.capacity}")

    def commit(self, token_ids: Sequence[int], *, is_prompt: bool = False) -> None:
        """Make the first `len(token_ids)` rows of the last forward part of the sequence.

        `is_prompt`: they were computed together as whole blocks of a prompt, directly behind other such rows.
        """
        assert self.length + len(token_ids) <= self.capacity
        if is_prompt:
            assert self._num_prompt_rows == self.length
            self._num_prompt_rows += len(token_ids)
        self._token_ids.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        super().truncate(length)
        self._num_prompt_rows = min(self._num_prompt_rows, length)

    def copy_rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Copies of the keys and of the values of committed rows, each (layers, H, stop - start, D)."""
        assert 0 <= start <= stop <= self.length
        return self._keys[:, :, start:stop].clone(), self._values[:, :, start:stop].clone()

    def append_prompt_rows(self, token_ids: Sequence[int], keys: Tensor, values: Tensor) -> None:
        """Commit rows of whole prompt blocks that `copy_rows` returned earlier; shapes as there."""
        start, stop = self.length, self.length + len(token_ids)
        self._keys[:, :, start:stop] = keys
        self._values[:, :, start:stop] = values
        self.commit(token_ids, is_prompt=True)
