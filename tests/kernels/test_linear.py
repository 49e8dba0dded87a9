"""linear_dense, linear_int8, linear_int4: the CUDA sources under emulation against the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from model_runtime.kernels import reference
from model_runtime.kernels.formats import Int4Weight, Int8Weight, LowRank, quantize_int4, quantize_int8
from model_runtime.kernels.linear_dense import linear_dense
from model_runtime.kernels.linear_int4 import linear_int4
from model_runtime.kernels.linear_int8 import linear_int8
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import assert_close, random

KERNELS: dict[str, Callable[..., torch.Tensor]] = {
    "dense": linear_dense,
    "int8": linear_int8,
    "int4": linear_int4,
}
REFERENCES: dict[str, Callable[..., torch.Tensor]] = {
    "dense": reference.linear_dense,
    "int8": reference.linear_int8,
    "int4": reference.linear_int4,
}


def make_weight(
    backend: EmulationBackend, kind: str, num_out: int, num_in: int, dtype: torch.dtype
) -> reference.Weight:
    weight = random(num_out, num_in, seed=1, spread=num_in**-0.5)
    if kind == "int8":
        eight = quantize_int8(weight)
        return Int8Weight(backend.place(eight.values), backend.place(eight.scales))
    if kind == "int4":
        four = quantize_int4(weight, dtype)
        return Int4Weight(backend.place(four.packed), backend.place(four.scales))
    return backend.place(weight.to(dtype))


def make_adapter(backend: EmulationBackend, rank: int, num_out: int, num_in: int, dtype: torch.dtype) -> LowRank:
    down = backend.place(random(rank, num_in, dtype=dtype, seed=4, spread=num_in**-0.5))
    return LowRank(down, backend.place(random(num_out, rank, dtype=dtype, seed=5, spread=rank**-0.5)))


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize(
    "rows, num_out, num_in",
    [(1, 16, 32), (3, 40, 96), (8, 64, 896), (11, 33, 544)],
)
def test_equals_reference(
    emulation: EmulationBackend, dtype: torch.dtype, kind: str, rows: int, num_out: int, num_in: int
) -> None:
    x = emulation.place(random(rows, num_in, dtype=dtype))
    weight = make_weight(emulation, kind, num_out, num_in, dtype)
    assert_close(KERNELS[kind](emulation, x, weight), REFERENCES[kind](x, weight), dtype)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("rank", [8, 16, 40])
def test_bias_and_gated_adapter(emulation: EmulationBackend, dtype: torch.dtype, kind: str, rank: int) -> None:
    rows, num_out, num_in = 6, 48, 256
    x = emulation.place(random(rows, num_in, dtype=dtype))
    weight = make_weight(emulation, kind, num_out, num_in, dtype)
    bias = emulation.place(random(num_out, dtype=dtype, seed=3))
    adapter = make_adapter(emulation, rank, num_out, num_in, dtype)
    gate = emulation.place(torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 0.5]))
    actual = KERNELS[kind](emulation, x, weight, bias, adapter, gate)
    assert_close(actual, REFERENCES[kind](x, weight, bias, adapter, gate), dtype)
    alone = KERNELS[kind](emulation, x, weight, bias)
    assert torch.equal(actual[:2], alone[:2]), "a closed gate must leave the base's result bit for bit"


@pytest.mark.parametrize("kind", KERNELS)
def test_split_inputs_are_summed(emulation: EmulationBackend, dtype: torch.dtype, kind: str) -> None:
    emulation.num_multiprocessors = 132
    x = emulation.place(random(5, 4864, dtype=dtype))
    weight = make_weight(emulation, kind, 24, 4864, dtype)
    adapter = make_adapter(emulation, 16, 24, 4864, dtype)
    assert_close(KERNELS[kind](emulation, x, weight, None, adapter), REFERENCES[kind](x, weight, None, adapter), dtype)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("rows, num_out", [(57, 72), (130, 40)])
def test_many_rows_and_wide_tiles(dtype: torch.dtype, kind: str, rows: int, num_out: int) -> None:
    backend = EmulationBackend(num_multiprocessors=1)  # so few that outputs are taken 32 at a time
    x = backend.place(random(rows, 128, dtype=dtype))
    weight = make_weight(backend, kind, num_out, 128, dtype)
    assert_close(KERNELS[kind](backend, x, weight), REFERENCES[kind](x, weight), dtype)
    backend.check_guards()


def test_int8_covers_the_extremes(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    values = torch.arange(-127, 129).clamp(max=127).to(torch.int8).view(16, 16)
    weight = Int8Weight(emulation.place(values), emulation.place(torch.ones(16)))
    x = emulation.place(torch.eye(16, dtype=dtype))
    assert torch.equal(linear_int8(emulation, x, weight).cpu(), values.T.to(dtype))


def test_int4_covers_every_level(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    levels = torch.arange(-8, 8).repeat(32, 2).float()  # the largest magnitude is -8, so the scale is exactly 1
    four = quantize_int4(levels, dtype)
    weight = Int4Weight(emulation.place(four.packed), emulation.place(four.scales))
    x = emulation.place(torch.eye(32, dtype=dtype))
    assert torch.equal(linear_int4(emulation, x, weight).cpu(), levels.T.to(dtype))


def test_int8_quantisation_error_is_small() -> None:
    weight = random(64, 256)
    assert (reference.dequantize(quantize_int8(weight), torch.float32) - weight).norm() / weight.norm() < 0.01


def test_int4_quantisation_error_is_moderate() -> None:
    weight = random(64, 256)
    error = (
        reference.dequantize(quantize_int4(weight, torch.bfloat16), torch.bfloat16) - weight
    ).norm() / weight.norm()
    assert error < 0.12


@pytest.mark.parametrize("kind, num_in, message", [("dense", 12, "of 8"), ("int8", 24, "of 16"), ("int4", 64, "of 8")])
def test_refuses_what_it_cannot_do(dtype: torch.dtype, kind: str, num_in: int, message: str) -> None:
    backend = EmulationBackend()
    x = random(2, num_in, dtype=dtype)
    adapter = LowRank(random(6, num_in, dtype=dtype), random(16, 6, dtype=dtype))
    weight = random(16, num_in, dtype=dtype) if kind == "dense" else make_weight(backend, kind, 16, num_in, dtype)
    with pytest.raises(ValueError, match=message):
        KERNELS[kind](backend, x, weight, None, adapter)


def test_refuses_misaligned_weights(dtype: torch.dtype) -> None:
    backend = EmulationBackend()
    shifted = torch.zeros(1 + 16 * 32, dtype=dtype)[1:].view(16, 32)
    with pytest.raises(ValueError, match="weight starts at an address"):
        linear_dense(backend, random(1, 32, dtype=dtype), shifted)
