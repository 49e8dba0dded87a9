"""Reuse of prompts: across keystrokes in place, across documents and jumps from a store of blocks.

A prompt is cut into blocks of `BLOCK` tokens from its start. A whole block is computed in one forward; what is left
over at the end is computed row by row, as decoding does. The keys and values of a block then depend on its tokens and
on those before it and on nothing else: not on how earlier requests were cut, cancelled or evicted. A shared block can
replace a computed one bit for bit, which is what makes the output independent of the cache.

`PrefixStore` keeps blocks that had to leave the cache, as a tree: a block is found by its tokens and its parent, so
documents that begin alike share memory. The least recently used leaf goes first. Nothing here knows the network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from model_runtime.cache.kv_cache import KeyValueCache

BLOCK = 64
"""Tokens of one prompt block: on a CPU the largest forward that a cancelled request still waits for gladly."""

_ROOT = 0


def num_block_rows(num_tokens: int) -> int:
    """How many of a prompt's first tokens lie in whole blocks."""
    return num_tokens - num_tokens % BLOCK


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Keys and values of one whole prompt block."""

    number: int
    """Names this block as a parent; never used again for another."""
    token_ids: tuple[int, ...]
    keys: Tensor
    """(layers, H, BLOCK, D)"""
    values: Tensor


class PrefixStore:
    """Whole prompt blocks outside the cache, within a budget in bytes; 0 keeps nothing."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget = budget_bytes
        # Oldest use first. A path is touched from its end to its root, so a parent is never older than its children
        # and the oldest entry is always a leaf.
        self._blocks: OrderedDict[tuple[int, tuple[int, ...]], StoredBlock] = OrderedDict()
        self._last_number = _ROOT
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory held by the stored blocks."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._blocks)

    def save(self, cache: KeyValueCache) -> None:
        """Keep the cache's prompt blocks that are not here yet; older ones make room."""
        path: list[tuple[int, tuple[int, ...]]] = []
        parent = _ROOT
        for start in range(0, num_block_rows(cache.num_prompt_rows), BLOCK):
            if (start + BLOCK) * cache.bytes_per_token > self.budget:
                break  # a longer path would have to evict its own start
            key = (parent, tuple(cache.token_ids[start : start + BLOCK]))
            if key not in self._blocks:
                self._last_number += 1
                keys, values = cache.copy_rows(start, start + BLOCK)
                self._blocks[key] = StoredBlock(self._last_number, key[1], keys, values)
                self._num_bytes += _size(keys) + _size(values)
            path.append(key)
            parent = self._blocks[key].number
        self._touch(path)
        while self._num_bytes > self.budget:
            _, evicted = self._blocks.popitem(last=False)
            self._num_bytes -= _size(evicted.keys) + _size(evicted.values)

    def find(self, token_ids: Sequence[int]) -> list[StoredBlock]:
        """The stored blocks that `token_ids` begins with, in order; their last use is now."""
        path = self._path(token_ids)
        self._touch(path)
        return [self._blocks[key] for key in path]

    def num_found(self, token_ids: Sequence[int]) -> int:
        """How many of the first `token_ids` are stored; counts as no use."""
        return len(self._path(token_ids)) * BLOCK

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._num_bytes = 0

    def _path(self, token_ids: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
        path: list[tuple[int, tuple[int, ...]]] = []
        parent = _ROOT
        for start in range(0, num_block_rows(len(token_ids)), BLOCK):
            key = (parent, tuple(token_ids[start : start + BLOCK]))
            if key not in self._blocks:
                break
            path.append(key)
            parent = self._blocks[key].number
        return path

    def _touch(self, path: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        for key in reversed(path):
            self._blocks.move_to_end(key)


def enter_prompt(cache: KeyValueCache, store: PrefixStore, token_ids: Sequence[int]) -> int:
    """Leave in the cache exactly the rows that a fresh computation of this prompt would also produce; their number.

    `token_ids` is the prompt without its last token. What the cache loses by it goes to the store first.
    """
    usable = _num_usable(cache, token_ids)
    found = store.find(token_ids)  # held while saving, which may evict them
    if cache.num_prompt_rows - usable >= BLOCK:
        store.save(cache)
    cache.truncate(usable)
    for block in found[usable // BLOCK :]:
        cache.append_prompt_rows(block.token_ids, block.keys, block.values)
    return cache.length


def num_reusable(cache: KeyValueCache, store: PrefixStore, token_ids: Sequence[int]) -> int:
    """How many rows `enter_prompt` would find for this prompt; changes nothing."""
    return max(_num_usable(cache, token_ids), store.num_found(token_ids))


def _num_usable(cache: KeyValueCache, token_ids: Sequence[int]) -> int:
    shared = cache.num_shared(token_ids)
    wanted = num_block_rows(len(token_ids))
    in_blocks = min(cache.num_prompt_rows, wanted, num_block_rows(shared))
    # Rows behind the blocks were computed one by one; they are this prompt's if its blocks end at the same place.
    if in_blocks == cache.num_prompt_rows == wanted:
        return shared
    return in_blocks


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
