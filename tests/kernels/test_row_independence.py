"""A row's result is the same to the last bit whatever rows stand beside it: what lossless verification stands on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from model_runtime.kernels import Kernels
from model_runtime.kernels.formats import quantize_int4, quantize_int8
from model_runtime.kernels.reference import Weight
from tests.cuda_emulation.backend import EmulationBackend, compiler
from tests.kernels.comparison import random

pytestmark = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")

FORMATS: dict[str, Callable[[torch.Tensor, torch.dtype], Weight]] = {
    "dense": lambda weight, dtype: weight.to(dtype),
    "int8": lambda weight, dtype: quantize_int8(weight),
    "int4": quantize_int4,
}


def kernels(num_multiprocessors: int = 132) -> Kernels:
    return Kernels(EmulationBackend(num_multiprocessors=num_multiprocessors), "emulated")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("num_multiprocessors", [1, 132])
def test_linear(kind: str, num_multiprocessors: int, dtype: torch.dtype) -> None:
    """Few processors: wide tiles, no splits; many: the inputs are split."""
    linear = getattr(kernels(num_multiprocessors), f"linear_{kind}")
    weight = FORMATS[kind](random(96, 2048, seed=1, spread=0.02), dtype)
    x = random(70, 2048, dtype=dtype)
    alone = linear(x[:1], weight)
    for rows in (7, 17, 70):
        assert torch.equal(linear(x[:rows], weight)[:1], alone), rows


def test_attention(dtype: torch.dtype) -> None:
    """A causal row's result does not change when rows, and with them tiles and keys, are added behind it."""
    attend, capacity = kernels(4).block_attention, 2048
    caches = [random(2, capacity, 64, dtype=dtype, seed=seed) for seed in (1, 2)]
    q = random(40, 14, 64, dtype=dtype)
    for length in (0, 255, 700):
        results = []
        for rows, num_causal in ((1, 1), (2, 2), (9, 5), (40, 1)):
            state = torch.tensor([length, num_causal, rows], dtype=torch.int32)
            results.append(attend(q[:rows].contiguous(), *caches, state, 0.125)[0])
        assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("kind", FORMATS)
def test_head(kind: str, dtype: torch.dtype) -> None:
    decide = kernels(3).head_argmax
    weight = FORMATS[kind](random(900, 128, seed=1, spread=0.3), dtype)
    hidden, limits = random(40, 128, dtype=dtype), torch.tensor([2.0, 2.0])
    results = [
        decide(hidden[:rows].contiguous(), weight, torch.full((rows,), 3, dtype=torch.int32), limits, -1)
        for rows in (1, 8, 33, 40)
    ]
    for result in results:
        for name in ("tokens", "probabilities", "current_probabilities"):
            assert torch.equal(getattr(result, name)[:1], getattr(results[0], name)[:1]), name
