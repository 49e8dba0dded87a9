"""Linear layers: plain floating point, and 8-bit integers for the CPU.

`Int8Linear` quantises each weight row once and each activation row when it comes, multiplies in integers and scales
back. Sums of integers do not depend on the order or on how many rows share the call, so a row's result is the same
whether it is computed alone or in a block: what lossless verification needs. (Per-tensor dynamic quantisation, which
torch offers ready-made, lets rows disturb each other, and loses more.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol

import torch
from torch import Tensor


class Linear(Protocol):
    """y = x W^T + b for rows x (T, in); returns (T, out)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights."""


class FloatLinear:
    """Weights (out, in) in the type they are given; the output is of that type too."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x.to(self.weight.dtype), self.weight, self.bias)

    @property
    def num_bytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()


class Int8Linear:
    """8-bit weights (out, in), one scale an output; 8-bit activations, one scale a row; float32 out."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, quantized: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """`quantized` is `quantize_rows(weight)` where that is known already: then only the weight's shape counts."""
        values, scale = quantize_rows(weight) if quantized is None else quantized
        self._num_outputs, self._num_inputs = weight.shape
        self._levels = activation_levels()
        self._num_threads = torch.get_num_threads()
        # oneDNN wants the weights in its own blocked layout; packing once at load saves it at every call.
        self._packed = torch.ops.onednn.qlinear_prepack(values, None)
        self._scale = scale
        self._zero_points = torch.zeros(self._num_outputs, dtype=torch.int64)
        self._bias = None if bias is None else bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        quantized, row_scale = quantize_activations(x, self._levels)
        num_threads = torch.get_num_threads()
        if num_threads != self._num_threads:
            torch.set_num_threads(self._num_threads)
        y = torch.ops.onednn.qlinear_pointwise(
            quantized, 1.0, self._levels + 1, self._packed, self._scale, self._zero_points,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        if num_threads != self._num_threads:
            torch.set_num_threads(num_threads)
        if self._bias is None:
            return y.mul_(row_scale)
        return torch.addcmul(self._bias, y, row_scale)

    @property
    def num_bytes(self) -> int:
        return self._num_outputs * (self._num_inputs + 4)


@contextmanager
def serial_between_products() -> Iterator[None]:
    """Run everything but the 8-bit products on one thread: for the few rows of a denoising step, not for prompts.

    Waking a sleeping thread costs some 100 microseconds, and torch would do it for a dozen small operations a layer.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@cache
def activation_levels() -> int:
    """Steps on each side of zero that activations may use on this processor: 127, or 63 where products saturate.

    Without VNNI, oneDNN adds pairs of 8-bit products in 16 bits, which overflow at 255 * 127 * 2; one bit less in the
    activations keeps every sum exact. Asked of the product itself rather than of the processor's name.
    """
    weight = torch.full((16, 64), 127, dtype=torch.int8)
    x = torch.full((1, 64), 255, dtype=torch.uint8)
    y = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, 0, torch.ops.onednn.qlinear_prepack(weight, None), torch.ones(16), torch.zeros(16, dtype=torch.int64),
        None, 1.0, 0, torch.float32, "none", [], "",
    )  # fmt: skip
    return 127 if bool((y == 255 * 127 * 64).all()) else 63


def has_int8_products() -> bool:
    """True where this torch can multiply in 8 bits on the CPU (x86 builds with oneDNN)."""
    try:
        return activation_levels() > 0
    except (RuntimeError, AttributeError):
        # No oneDNN in this build (the operator is not there), or none for this processor: float32 serves instead.
        return False


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric 8-bit rows of a matrix (out, in): int8 values and float32 scales (out,)."""
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp_min_(1e-12) / 127
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def quantize_activations(x: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Symmetric rows of x (T, in) around a zero point of `levels` + 1: uint8 values and float32 scales (T, 1)."""
    row_scale = torch.maximum(x.amax(dim=1, keepdim=True), -x.amin(dim=1, keepdim=True))
    row_scale.clamp_min_(1e-9).mul_(1 / levels)
    # Conversion to an integer cuts the fraction off: the half makes it rounding.
    return torch.addcdiv(x.new_full((1, 1), levels + 1.5), x, row_scale).to(torch.uint8), row_scale
