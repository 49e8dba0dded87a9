"""The weight-only linear layers: launch shape and argument checks shared by linear_dense, linear_int8, linear_int4.

Owns the choice of tiles and splits. The low-rank adapter takes one more small launch for its shrinking half; its
growing half is added inside the main one. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model_runtime.kernels.formats import LowRank
from model_runtime.kernels.launch import (
    MAX_ROWS,
    Argument,
    Backend,
    Launch,
    check_multiple,
    check_tensor,
    divide_up,
    element_defines,
)

_NUM_WARPS = 8
"""The same constant as in linear.cuh."""


def row_tiles(rows: int) -> int:
    """Tiles of 8 rows a kernel is compiled for: 1, 2, 4, 8 or 16."""
    tiles = 1
    while 8 * tiles < rows:
        tiles *= 2
    return tiles


def shared_bytes(out_tiles: int, num_row_tiles: int) -> int:
    """Half of the warps' accumulators."""
    return _NUM_WARPS // 2 * out_tiles * num_row_tiles * 4 * 32 * 4


def run_linear(
    backend: Backend,
    kernel: str,
    bits: int,
    x: torch.Tensor,
    weight: Sequence[torch.Tensor],
    num_out: int,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
    row_scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """Check the activations, run the adapter's shrinking half, then the layer. `weight`: what the kernel reads."""
    rows, num_in = x.shape
    check_multiple("the layer's input width", num_in, 128 // bits)
    check_tensor("x", x, (rows, num_in), x.dtype, backend.device)
    if bias is not None:
        check_tensor("bias", bias, (num_out,), x.dtype, backend.device)
    shrunk, up, rank = None, None, 0
    if adapter is not None:
        rank = adapter.down.shape[0]
        check_multiple("the adapter's rank", rank, 8)
        check_tensor("adapter.down", adapter.down, (rank, num_in), x.dtype, backend.device)
        check_tensor("adapter.up", adapter.up, (num_out, rank), x.dtype, backend.device)
        if gate is not None:
            check_tensor("gate", gate, (rows,), torch.float32, backend.device)
        shrunk = run_linear(backend, "linear_dense", 16, x, [adapter.down], rank, row_scale=gate)
        up = adapter.up

    out = backend.empty((rows, num_out), x.dtype)
    for first in range(0, rows, MAX_ROWS):
        part = slice(first, first + MAX_ROWS)
        tensors = [
            x[part],
            *weight,
            bias,
            None if shrunk is None else shrunk[part],
            up,
            None if row_scale is None else row_scale[part],
            out[part],
        ]
        _launch(backend, kernel, bits, x.dtype, tensors, (len(out[part]), num_out, num_in, rank))
    return out


def _launch(
    backend: Backend,
    kernel: str,
    bits: int,
    dtype: torch.dtype,
    tensors: Sequence[Argument],
    sizes: tuple[int, int, int, int],
) -> None:
    """One launch over at most MAX_ROWS rows; sizes = (rows, num_out, num_in, rank)."""
    rows, num_out, num_in, _ = sizes
    tiles = row_tiles(rows)
    wanted_blocks = 2 * backend.num_multiprocessors
    out_tiles = 2 if tiles <= 8 and num_out >= 32 * wanted_blocks else 1
    columns = divide_up(num_out, 16 * out_tiles)
    num_chunks = divide_up(num_in, 4 * 128 // bits)
    splits = max(1, min(wanted_blocks // columns, num_chunks // _NUM_WARPS))
    partial = backend.empty((columns, splits, rows, 16 * out_tiles) if splits > 1 else (1,), torch.float32)
    launch = Launch(
        source=kernel,
        kernel=kernel,
        defines=(*element_defines(dtype), ("ROW_TILES", tiles), ("OUT_TILES", out_tiles)),
        grid=(columns, splits, 1),
        block=(32 * _NUM_WARPS, 1, 1),
        shared_bytes=shared_bytes(out_tiles, tiles),
    )
    workspace = [partial, backend.counters(columns)]
    backend.launch(launch, [*tensors, *workspace, *(np.int32(value) for value in sizes)])
