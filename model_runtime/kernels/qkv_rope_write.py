"""Bias, rotary embedding and cache write, as one CUDA launch (`cuda/qkv_rope_write.cu`)."""

from __future__ import annotations

import numpy as np
import torch

from model_runtime.kernels.launch import (
    Backend,
    Launch,
    check_multiple,
    check_state,
    check_tensor,
    divide_up,
    element_defines,
)


def qkv_rope_write(
    backend: Backend,
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    table: torch.Tensor,
    state: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
) -> torch.Tensor:
    """See `reference.qkv_rope_write`. Writes to the caches; returns the queries [rows, heads, head_dim]."""
    rows, width = qkv.shape
    kv_heads, capacity, head_dim = k_cache.shape
    check_multiple("head_dim", head_dim, 16)
    check_multiple("qkv's width", width, head_dim)
    heads = width // head_dim - 2 * kv_heads
    threads = 32 * divide_up(width // 16, 32)
    if heads < 1 or threads > 1024:
        raise ValueError(
            f"qkv's width is {width}, which is not {kv_heads} key/value heads of {head_dim} and 1+ queries"
        )
    check_tensor("qkv", qkv, (rows, width), qkv.dtype, backend.device)
    if bias is not None:
        check_tensor("bias", bias, (width,), qkv.dtype, backend.device)
    check_tensor("table", table, (capacity, head_dim), torch.float32, backend.device)
    check_tensor("k_cache", k_cache, (kv_heads, capacity, head_dim), qkv.dtype, backend.device)
    check_tensor("v_cache", v_cache, (kv_heads, capacity, head_dim), qkv.dtype, backend.device)
    check_state(state, backend.device)
    q = backend.empty((rows, heads, head_dim), qkv.dtype)
    launch = Launch(
        source="qkv_rope_write",
        kernel="qkv_rope_write",
        defines=(*element_defines(qkv.dtype), ("HEAD_DIM", head_dim)),
        grid=(rows, 1, 1),
        block=(threads, 1, 1),
    )
    sizes = [np.int32(value) for value in (heads, kv_heads, capacity)]
    backend.launch(launch, [qkv, bias, table, state, q, k_cache, v_cache, *sizes])
    return q
