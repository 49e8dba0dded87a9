"""block_attention: the CUDA source under emulation against the reference.

Cache slots that must not be read hold NaN throughout, so reading one shows in the result.
"""

from __future__ import annotations

import pytest
import torch

from model_runtime.kernels import reference
from model_runtime.kernels.block_attention import block_attention
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import assert_close, random

# (heads, kv_heads, head_dim): the two shipped shapes, and the extremes of sharing.
SHAPES = {"0.5b": (14, 2, 64), "1.5b": (12, 2, 128), "unshared": (2, 2, 64), "one": (1, 1, 128)}


def check(
    backend: EmulationBackend,
    dtype: torch.dtype,
    shape: str,
    length: int,
    num_causal: int,
    num_rows: int,
    rows: int | None = None,
    capacity: int | None = None,
) -> None:
    heads, kv_heads, head_dim = SHAPES[shape]
    rows = rows or num_rows
    total = length + num_rows
    capacity = capacity or total + 5
    q = backend.place(random(rows, heads, head_dim, dtype=dtype, spread=2))
    k_cache = backend.empty((kv_heads, capacity, head_dim), dtype)
    v_cache = backend.empty((kv_heads, capacity, head_dim), dtype)
    written = min(total, capacity)
    k_cache[:, :written] = random(kv_heads, written, head_dim, dtype=dtype, seed=1)
    v_cache[:, :written] = random(kv_heads, written, head_dim, dtype=dtype, seed=2)
    q[num_rows:] = float("nan")  # padding rows may hold anything
    state = backend.place(torch.tensor([length, num_causal, num_rows], dtype=torch.int32))
    out = block_attention(backend, q, k_cache, v_cache, state, head_dim**-0.5)
    assert_close(out, reference.block_attention(q, k_cache, v_cache, state, head_dim**-0.5), dtype)
    backend.check_guards()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length, num_causal, num_rows", [(0, 0, 1), (0, 5, 5), (70, 1, 9), (255, 0, 1)])
def test_one_split(
    emulation: EmulationBackend, dtype: torch.dtype, shape: str, length: int, num_causal: int, num_rows: int
) -> None:
    check(emulation, dtype, shape, length, num_causal, num_rows)


@pytest.mark.parametrize("shape", ["0.5b", "1.5b"])
@pytest.mark.parametrize("length, num_causal, num_rows", [(600, 2, 6), (300, 0, 16)])
def test_splits_are_combined(
    emulation: EmulationBackend, dtype: torch.dtype, shape: str, length: int, num_causal: int, num_rows: int
) -> None:
    emulation.num_multiprocessors = 132
    check(emulation, dtype, shape, length, num_causal, num_rows, capacity=2048)


@pytest.mark.parametrize("rows, num_rows", [(16, 3), (8, 0), (4, 4)])
def test_padding_rows_are_zero(emulation: EmulationBackend, dtype: torch.dtype, rows: int, num_rows: int) -> None:
    check(emulation, dtype, "0.5b", 40, 1, num_rows, rows=rows)


def test_rows_past_the_capacity_are_padding(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    check(emulation, dtype, "unshared", length=30, num_causal=2, num_rows=4, capacity=32)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 31, 64, 128, 150])
def test_every_block_size_runs(num_rows: int, dtype: torch.dtype) -> None:
    check(EmulationBackend(), dtype, "0.5b", 33, num_rows // 3, num_rows)


def test_long_cache_uses_every_split(dtype: torch.dtype) -> None:
    check(
        EmulationBackend(num_multiprocessors=132), dtype, "one", length=9000, num_causal=1, num_rows=3, capacity=32768
    )


def test_large_scores_do_not_overflow(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    q = emulation.place(random(2, 2, 64, dtype=dtype, spread=60))
    cache = emulation.place(random(2, 40, 64, dtype=dtype, spread=60, seed=3))
    state = emulation.place(torch.tensor([38, 0, 2], dtype=torch.int32))
    out = block_attention(emulation, q, cache, cache, state, 1.0)
    assert_close(out, reference.block_attention(q, cache, cache, state, 1.0), dtype)


def test_refuses_what_it_cannot_do() -> None:
    backend, state = EmulationBackend(), torch.zeros(3, dtype=torch.int32)
    cache = torch.zeros(2, 8, 64, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="head_dim is 32"):
        narrow = torch.zeros(2, 8, 32, dtype=torch.bfloat16)
        block_attention(backend, torch.zeros(1, 2, 32, dtype=torch.bfloat16), narrow, narrow, state, 1.0)
    with pytest.raises(ValueError, match="3 heads cannot share 2"):
        block_attention(backend, torch.zeros(1, 3, 64, dtype=torch.bfloat16), cache, cache, state, 1.0)
    with pytest.raises(ValueError, match="strides"):
        q = torch.zeros(1, 2, 64, dtype=torch.bfloat16)
        block_attention(backend, q, torch.zeros(8, 2, 64, dtype=torch.bfloat16).transpose(0, 1), cache, state, 1.0)
