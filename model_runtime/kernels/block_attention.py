"""Attention of a forward's rows over the key/value cache, as one CUDA launch (`cuda/block_attention.cu`)."""

from __future__ import annotations

import math

import numpy as np
import torch

from model_runtime.kernels.launch import (
    Backend,
    Launch,
    check_state,
    check_tensor,
    divide_up,
    element_defines,
)

HEAD_DIMS = (64, 128)
_MIN_KEYS_PER_SPLIT = 256
"""Below this a split costs more in combining than it saves; a multiple of every key tile."""
_MAX_SPLITS = 64


def shared_bytes(head_dim: int) -> int:
    """Two stages of a key tile and a value tile, rows padded by 16 bytes."""
    return 2 * 2 * (4096 // head_dim) * (head_dim + 8) * 2


def keys_per_split(capacity: int) -> int:
    """Keys of one split. From the capacity alone: sums must not be cut elsewhere when a forward has other rows."""
    return _MIN_KEYS_PER_SPLIT * divide_up(capacity, _MIN_KEYS_PER_SPLIT * _MAX_SPLITS)


def block_attention(
    backend: Backend,
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    state: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """See `reference.block_attention`. q: [rows, heads, head_dim]; caches: [kv_heads, capacity, head_dim]."""
    rows, heads, head_dim = q.shape
    kv_heads, capacity, _ = k_cache.shape
    if head_dim not in HEAD_DIMS:
        raise ValueError(f"head_dim is {head_dim}, expected one of {HEAD_DIMS}")
    if heads % kv_heads:
        raise ValueError(f"{heads} heads cannot share {kv_heads} key/value heads evenly")
    check_tensor("q", q, (rows, heads, head_dim), q.dtype, backend.device)
    check_tensor("k_cache", k_cache, (kv_heads, capacity, head_dim), q.dtype, backend.device)
    check_tensor("v_cache", v_cache, (kv_heads, capacity, head_dim), q.dtype, backend.device)
    check_state(state, backend.device)

    num_queries = rows * heads // kv_heads
    num_warps = 1 if num_queries <= 16 else 2 if num_queries <= 32 else 4
    query_tile = 16 * num_warps
    num_tiles = divide_up(num_queries, query_tile)
    num_keys = keys_per_split(capacity)
    splits = divide_up(capacity, num_keys)

    out = backend.empty((rows, heads, head_dim), q.dtype)
    partial_acc = backend.empty((kv_heads * num_tiles, splits, query_tile, head_dim), torch.float32)
    partial_stats = backend.empty((kv_heads * num_tiles, splits, query_tile, 2), torch.float32)
    launch = Launch(
        source="block_attention",
        kernel="block_attention",
        defines=(*element_defines(q.dtype), ("HEAD_DIM", head_dim), ("NUM_WARPS", num_warps)),
        grid=(splits, kv_heads, num_tiles),
        block=(32 * num_warps, 1, 1),
        shared_bytes=shared_bytes(head_dim),
    )
    sizes = [np.int32(value) for value in (rows, heads, kv_heads, capacity, num_keys)]
    tensors = [q, k_cache, v_cache, state, out, partial_acc, partial_stats, backend.counters(kv_heads * num_tiles)]
    backend.launch(launch, [*tensors, *sizes, np.float32(scale * math.log2(math.e))])
    return out
