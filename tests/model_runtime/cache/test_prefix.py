"""Reuse of prompts over any history: what the cache holds is always what computing the prompt anew would give.

The network is a stand-in whose row is a fingerprint of everything a real row depends on: its token, those before it,
and whether it was computed in a whole block or alone.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.cache import prefix
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.cache.prefix import PrefixStore, enter_prompt, num_block_rows, num_reusable

BLOCK = 4
LAYERS, HEADS, WIDTH, CAPACITY = 2, 1, 3, 64
BYTES_A_BLOCK = 2 * LAYERS * HEADS * WIDTH * 4 * BLOCK


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(prefix, "BLOCK", BLOCK)
    yield


def new_cache() -> KeyValueCache:
    return KeyValueCache(LAYERS, HEADS, WIDTH, CAPACITY, torch.float32, torch.device("cpu"))


def fingerprint(tokens: Sequence[int], *, is_block: bool) -> float:
    return float(zlib.crc32(repr((list(tokens), is_block)).encode()) % 2**20)


def compute(cache: KeyValueCache, token_ids: Sequence[int], *, is_block: bool) -> None:
    """What a forward does: write rows behind the committed ones, then commit them."""
    before = list(cache.token_ids)
    values = [fingerprint([*before, *token_ids[: i + 1]], is_block=is_block) for i in range(len(token_ids))]
    rows = torch.tensor(values)[None, :, None].expand(HEADS, -1, WIDTH)
    for layer in range(LAYERS):
        cache.write(layer, rows + layer, -rows - layer)
    cache.commit(token_ids, is_prompt=is_block)


def read_prompt(cache: KeyValueCache, store: PrefixStore, prompt: Sequence[int], stop_after: int | None = None) -> int:
    """As the decoder reads it, given up after `stop_after` forwards; returns how many rows were reused."""
    reused = enter_prompt(cache, store, prompt)
    num_forwards = 0
    while cache.length < len(prompt) and num_forwards != stop_after:
        start, in_blocks = cache.length, num_block_rows(len(prompt))
        end = start + BLOCK if start < in_blocks else len(prompt)
        compute(cache, prompt[start:end], is_block=start < in_blocks)
        num_forwards += 1
    return reused


def rows_of(cache: KeyValueCache) -> list[float]:
    keys, values = cache.copy_rows(0, cache.length)
    assert torch.equal(keys, -values)
    assert torch.equal(keys[1], keys[0] + 1)
    return keys[0, 0, :, 0].tolist()


def fresh_rows(prompt: Sequence[int]) -> list[float]:
    in_blocks = num_block_rows(len(prompt))
    return [fingerprint(prompt[: i + 1], is_block=i < in_blocks) for i in range(len(prompt))]


PROMPTS = st.lists(st.integers(0, 1), min_size=0, max_size=22)
REQUESTS = st.tuples(PROMPTS, st.integers(0, 7), st.sampled_from([None, None, None, 0, 1, 2]))
BUDGETS = st.sampled_from([0, 1, 2, 3, 5, 100])


@settings(max_examples=100, deadline=None)
@given(st.lists(REQUESTS, min_size=1, max_size=14), BUDGETS)
def test_any_history_leaves_what_computing_anew_would(
    history: list[tuple[list[int], int, int | None]], budget: int
) -> None:
    cache, store = new_cache(), PrefixStore(budget * BYTES_A_BLOCK)
    for prompt, num_written, stop_after in history:
        announced = num_reusable(cache, store, prompt)
        reused = read_prompt(cache, store, prompt, stop_after)
        assert reused == announced
        assert list(cache.token_ids) == prompt[: cache.length]
        assert rows_of(cache) == fresh_rows(prompt)[: cache.length]
        assert store.num_bytes <= budget * BYTES_A_BLOCK
        assert store.num_bytes == len(store) * BYTES_A_BLOCK
        if stop_after is None:
            assert cache.length == len(prompt)
            for i in range(num_written):  # decoding goes on behind the prompt, row by row
                compute(cache, [i % 2], is_block=False)


def test_another_document_comes_back_from_the_store() -> None:
    cache, store = new_cache(), PrefixStore(10 * BYTES_A_BLOCK)
    one, other = [1] * 14, [2] * 11
    for prompt in (one, other):
        assert read_prompt(cache, store, prompt) == 0
    assert read_prompt(cache, store, one) == 12  # its whole blocks; the two tokens behind them are computed again
    assert read_prompt(cache, store, other) == 8


def test_typing_on_computes_only_what_is_new() -> None:
    cache, store = new_cache(), PrefixStore(0)
    prompt = [3] * 13
    read_prompt(cache, store, prompt)
    assert read_prompt(cache, store, [*prompt, 5]) == 13
    assert read_prompt(cache, store, [*prompt, 5, 6]) == 14
    # The fourth block is complete: as a whole block it is another computation.
    assert read_prompt(cache, store, [*prompt, 5, 6, 7]) == 12


def test_documents_that_begin_alike_share_memory() -> None:
    cache, store = new_cache(), PrefixStore(100 * BYTES_A_BLOCK)
    for end in range(5):
        read_prompt(cache, store, [*[7] * 16, *[end] * 4])
        read_prompt(cache, store, [9] * 8)
    assert len(store) == 4 + 5 + 2


def test_the_oldest_use_goes_first_and_a_parent_never_before_its_child() -> None:
    cache, store = new_cache(), PrefixStore(4 * BYTES_A_BLOCK)
    first, second, third = [1] * 8, [2] * 8, [3] * 8
    for prompt in (first, second, third):
        read_prompt(cache, store, prompt)  # each saves the one before
    assert (store.num_found(first), store.num_found(second)) == (8, 8)
    read_prompt(cache, store, first)  # used again, and the third is saved: the second has to go
    assert (store.num_found(first), store.num_found(second), store.num_found(third)) == (8, 0, 8)


def test_a_budget_too_small_for_a_path_keeps_its_beginning() -> None:
    cache, store = new_cache(), PrefixStore(2 * BYTES_A_BLOCK)
    read_prompt(cache, store, [1] * 20)
    read_prompt(cache, store, [2] * 20)
    assert store.num_found([1] * 20) == 8


def test_a_thousand_documents_stay_within_the_budget() -> None:
    rng = random.Random(1)
    cache, store = new_cache(), PrefixStore(6 * BYTES_A_BLOCK)
    for _ in range(1000):
        read_prompt(cache, store, [rng.randrange(2) for _ in range(rng.randrange(30))])
        assert store.num_bytes <= 6 * BYTES_A_BLOCK
    assert len(store) > 0
    store.clear()
    assert (len(store), store.num_bytes) == (0, 0)
