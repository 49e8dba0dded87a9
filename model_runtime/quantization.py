"""Weights in 8 or 4 bits: the layer that multiplies them, how they are stored, and how they are made.

The formats are those the kernels read (`kernels/formats.py`): 8 bits with one scale an output, 4 bits with one scale
for 32 inputs. Matrices are quantised and expanded in slices of rows, so no full-precision copy of a large one is ever
in memory. `calibrated_int4` chooses each group's scale by what the model's own activations on code make of the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from model_runtime.kernels import Operation, load_kernels
from model_runtime.kernels.formats import (
    INT4_GROUP,
    Int4Weight,
    Int8Weight,
    dequantize_int4,
    quantize_int4,
    quantize_int8,
)

Bits = Literal[4, 8]
VALUES, SCALES = ".values", ".scales"
"""What a quantised tensor `x.weight` is stored as: `x.weight.values` and `x.weight.scales`."""

ROWS_AT_ONCE = 1024
SCALE_TYPE = torch.float16
_CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)


class PackedLinear:
    """y = x W^T + b with W in 8 or 4 bits; the activations keep their type (weight-only)."""

    def __init__(self, weight: Int4Weight | Int8Weight, bias: Tensor | None, dtype: torch.dtype) -> None:
        """`weight` and `bias` on the device they are used on; `dtype` of the products."""
        self._weight = weight
        self._bias = None if bias is None else bias.to(dtype)
        self._dtype = dtype
        self._kernel: Operation | None = None
        device = (weight.packed if isinstance(weight, Int4Weight) else weight.values).device
        if device.type == "cuda":
            kernels = load_kernels(device, dtype)
            self._kernel = kernels.linear_int4 if isinstance(weight, Int4Weight) else kernels.linear_int8

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._dtype)
        if self._kernel is not None and self._kernel.is_kernel:
            y: Tensor = self._kernel(x, self._weight, self._bias)
            return y
        parts = [x @ expanded(part).to(self._dtype).T for part in row_slices(self._weight)]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return y if self._bias is None else y + self._bias

    @property
    def num_bytes(self) -> int:
        """Memory held by values and scales."""
        values = self._weight.packed if isinstance(self._weight, Int4Weight) else self._weight.values
        scales = self._weight.scales
        return values.numel() * values.element_size() + scales.numel() * scales.element_size()


def quantized(
    slices: Iterable[Tensor], bits: Bits, dtype: torch.dtype, device: torch.device
) -> Int4Weight | Int8Weight:
    """Slices of a matrix's rows (r, in), in order, to the packed whole on `device`."""
    if bits == 8:
        eights = [quantize_int8(rows) for rows in slices]
        return Int8Weight(
            torch.cat([each.values for each in eights]).to(device),
            torch.cat([each.scales for each in eights]).to(device),
        )
    fours = [quantize_int4(rows, dtype) for rows in slices]
    return Int4Weight(
        torch.cat([each.packed for each in fours]).to(device), torch.cat([each.scales for each in fours]).to(device)
    )


def expanded(weight: Int4Weight | Int8Weight) -> Tensor:
    """float32 (out, in)."""
    if isinstance(weight, Int4Weight):
        return dequantize_int4(weight)
    return weight.values.float() * weight.scales[:, None]


def row_slices(weight: Int4Weight | Int8Weight) -> list[Int4Weight | Int8Weight]:
    """The weight as slices of at most ROWS_AT_ONCE rows, views of it."""
    scales = weight.scales
    starts = range(0, scales.shape[0], ROWS_AT_ONCE)
    if isinstance(weight, Int4Weight):
        return [Int4Weight(weight.packed[i : i + ROWS_AT_ONCE], scales[i : i + ROWS_AT_ONCE]) for i in starts]
    return [Int8Weight(weight.values[i : i + ROWS_AT_ONCE], scales[i : i + ROWS_AT_ONCE]) for i in starts]


def joined(weights: list[Int4Weight | Int8Weight]) -> Int4Weight | Int8Weight:
    """Several matrices of one format as one, outputs behind each other."""
    if len(weights) == 1:
        return weights[0]
    first = weights[0]
    scales = torch.cat([each.scales for each in weights])
    if isinstance(first, Int4Weight):
        return Int4Weight(torch.cat([each.packed for each in weights if isinstance(each, Int4Weight)]), scales)
    return Int8Weight(torch.cat([each.values for each in weights if isinstance(each, Int8Weight)]), scales)


def stored(name: str, weight: Int4Weight | Int8Weight) -> Mapping[str, Tensor]:
    """The tensors a quantised weight is stored as."""
    values = weight.packed if isinstance(weight, Int4Weight) else weight.values
    return {name + VALUES: values, name + SCALES: weight.scales}


def stored_shapes(name: str, shape: tuple[int, ...], bits: Bits) -> dict[str, tuple[int, ...]]:
    """Shapes of those tensors for a matrix (out, in)."""
    num_out, num_in = shape
    if bits == 8:
        return {name + VALUES: (num_out, num_in), name + SCALES: (num_out,)}
    return {name + VALUES: (num_out, num_in // 8), name + SCALES: (num_out, num_in // INT4_GROUP)}


def from_stored(values: Tensor, scales: Tensor, bits: Bits, dtype: torch.dtype) -> Int4Weight | Int8Weight:
    """The inverse of `stored`; 4-bit scales in the type the products use."""
    return Int8Weight(values, scales.float()) if bits == 8 else Int4Weight(values, scales.to(dtype))


def can_pack(shape: tuple[int, ...], bits: Bits) -> bool:
    """4-bit groups need inputs in multiples of 32."""
    return bits == 8 or shape[1] % INT4_GROUP == 0


def calibrated_int4(rows: Tensor, input_power: Tensor, dtype: torch.dtype) -> Int4Weight:
    """4-bit rows (r, in) whose groups are clipped where that makes the error on real activations smaller.

    `input_power` (in,): mean square of each input over calibration text. A group's error is the sum over its inputs of
    power times squared weight error, the diagonal of what the output's squared error is made of (as in AWQ's search
    for a clip, Lin et al. 2023, arXiv 2306.00978). The unclipped scale is among the choices, so it never gets worse.
    """
    rows = rows.float()
    num_out, num_in = rows.shape
    groups = rows.view(num_out, num_in // INT4_GROUP, INT4_GROUP)
    power = input_power.float().view(1, num_in // INT4_GROUP, INT4_GROUP)
    largest = groups.abs().amax(-1, keepdim=True)
    best: Int4Weight | None = None
    best_error = torch.full((num_out, num_in // INT4_GROUP), float("inf"), device=rows.device)
    for clip in _CLIPS:
        limit = largest * clip
        candidate = quantize_int4(groups.clamp(-limit, limit).reshape(num_out, num_in), dtype)
        error = ((expanded(candidate).view_as(groups) - groups).square() * power).sum(-1)
        is_better = error < best_error
        best_error = torch.where(is_better, error, best_error)
        best = candidate if best is None else _choose(is_better, candidate, best)
    assert best is not None
    return best


def _choose(is_first: Tensor, first: Int4Weight, second: Int4Weight) -> Int4Weight:
    """Group by group the one or the other; a group of 32 is four words."""
    words = is_first.repeat_interleave(INT4_GROUP // 8, dim=1)
    return Int4Weight(
        torch.where(words, first.packed, second.packed), torch.where(is_first, first.scales, second.scales)
    )
