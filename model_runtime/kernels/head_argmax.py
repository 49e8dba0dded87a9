"""Head, softmax, best token and commit decision of a denoising step, as one CUDA launch (`cuda/head_argmax.cu`)."""

from __future__ import annotations

import numpy as np
import torch

from model_runtime.kernels.formats import INT4_GROUP, Int4Weight, Int8Weight
from model_runtime.kernels.launch import (
    Argument,
    Backend,
    Launch,
    check_multiple,
    check_rows,
    check_tensor,
    divide_up,
    element_defines,
)
from model_runtime.kernels.linear import row_tiles
from model_runtime.kernels.reference import HeadResult, Weight

_NUM_WARPS = 8
_MAX_ROW_TILES = 4
"""Rows of one pass over the weights: 32. More go to further row groups of the same launch."""


def head_argmax(
    backend: Backend,
    hidden: torch.Tensor,
    weight: Weight,
    canvas: torch.Tensor,
    thresholds: torch.Tensor,
    mask_id: int,
    forbidden: torch.Tensor | None = None,
) -> HeadResult:
    """See `reference.head_argmax`. hidden: [rows, width]; weight: [vocabulary, width] in any format."""
    rows, num_in = hidden.shape
    check_rows("hidden", rows)
    check_tensor("hidden", hidden, (rows, num_in), hidden.dtype, backend.device)
    check_tensor("canvas", canvas, (rows,), torch.int32, backend.device, alignment=4)
    check_tensor("thresholds", thresholds, (2,), torch.float32, backend.device, alignment=4)
    bits, vocabulary, pointers = _check_weight(backend, weight, num_in, hidden.dtype)
    if forbidden is not None:
        check_tensor("forbidden", forbidden, (divide_up(vocabulary, 32),), torch.int32, backend.device, alignment=4)

    tiles = min(row_tiles(rows), _MAX_ROW_TILES)
    out_tiles = 2
    row_groups = divide_up(rows, 8 * tiles)
    blocks = min(2 * backend.num_multiprocessors, divide_up(vocabulary, 16 * out_tiles * _NUM_WARPS))
    tokens, next_canvas = (backend.empty((rows,), torch.int32) for _ in range(2))
    probabilities, current, current_logits = (backend.empty((rows,), torch.float32) for _ in range(3))
    status = backend.empty((2,), torch.int32)
    partial = backend.empty((blocks, rows, 3), torch.float32)
    launch = Launch(
        source="head_argmax",
        kernel="head_argmax",
        defines=(
            *element_defines(hidden.dtype),
            ("WEIGHT_BITS", bits),
            ("ROW_TILES", tiles),
            ("OUT_TILES", out_tiles),
        ),
        grid=(blocks, row_groups, 1),
        block=(32 * _NUM_WARPS, 1, 1),
    )
    outputs = [tokens, probabilities, current, next_canvas, status, partial, current_logits, backend.counters(1)]
    sizes = [np.int32(value) for value in (rows, vocabulary, num_in, mask_id)]
    backend.launch(launch, [hidden, *pointers, canvas, thresholds, *outputs, forbidden, *sizes])
    return HeadResult(tokens, probabilities, current, next_canvas, status)


def _check_weight(backend: Backend, weight: Weight, num_in: int, dtype: torch.dtype) -> tuple[int, int, list[Argument]]:
    """(bits, vocabulary, [values, scale per output, scale per group]) after checking every tensor of the weight."""
    if isinstance(weight, Int8Weight):
        vocabulary = weight.values.shape[0]
        check_multiple("hidden's width", num_in, 16)
        check_tensor("weight.values", weight.values, (vocabulary, num_in), torch.int8, backend.device)
        check_tensor("weight.scales", weight.scales, (vocabulary,), torch.float32, backend.device, alignment=4)
        return 8, vocabulary, [weight.values, weight.scales, None]
    if isinstance(weight, Int4Weight):
        vocabulary = weight.packed.shape[0]
        check_multiple("hidden's width", num_in, INT4_GROUP)
        check_tensor("weight.packed", weight.packed, (vocabulary, num_in // 8), torch.int32, backend.device)
        check_tensor("weight.scales", weight.scales, (vocabulary, num_in // INT4_GROUP), dtype, backend.device, 2)
        return 4, vocabulary, [weight.packed, None, weight.scales]
    vocabulary = weight.shape[0]
    check_multiple("hidden's width", num_in, 8)
    check_tensor("weight", weight, (vocabulary, num_in), dtype, backend.device)
    return 16, vocabulary, [weight, None, None]
