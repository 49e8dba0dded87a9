"""8-bit linears: integer products are exact on any processor, rows do not disturb each other, the error is bounded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.layers.linear import FloatLinear, Int8Linear, activation_levels, quantize_activations, quantize_rows


def random_layer(num_outputs: int = 48, num_inputs: int = 96, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_outputs, num_inputs, generator=generator), torch.randn(num_outputs, generator=generator)


@settings(max_examples=30, deadline=None)
@given(num_rows=st.integers(1, 70), scale=st.sampled_from([1e-4, 1.0, 300.0]), seed=st.integers(0, 100))
def test_a_row_alone_equals_the_row_in_company(num_rows: int, scale: float, seed: int) -> None:
    linear = Int8Linear(*random_layer())
    x = torch.randn(num_rows, 96, generator=torch.Generator().manual_seed(seed)) * scale
    together = linear(x)
    assert all(torch.equal(linear(x[i : i + 1])[0], together[i]) for i in range(num_rows))


def test_the_product_is_the_exact_integer_sum() -> None:
    weight, _ = random_layer(num_inputs=4864)
    weight[0] = weight[0].abs().max()  # every product of this row has the largest size and one sign
    x = torch.cat([torch.full((1, 4864), 3.0), torch.randn(5, 4864)])
    (w, w_scale), (a, a_scale) = quantize_rows(weight), quantize_activations(x, activation_levels())
    exact = ((a.long() - activation_levels() - 1) @ w.long().T).double() * a_scale * w_scale
    assert torch.allclose(Int8Linear(weight)(x).double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE"])
def test_processors_without_wide_sums_are_exact_too(instructions: str) -> None:
    """oneDNN is told to pretend: the same product then has to be right with one bit less in the activations."""
    test = f"{__file__}::test_the_product_is_the_exact_integer_sum"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": instructions}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]


def test_the_error_is_small_against_floating_point() -> None:
    weight, bias = random_layer(num_inputs=896)
    x = torch.randn(7, 896)
    error = (Int8Linear(weight, bias)(x) - FloatLinear(weight, bias)(x)).abs().max()
    assert error <= 0.02 * (x @ weight.T).abs().max()


def test_a_row_of_zeros_is_the_bias() -> None:
    weight, bias = random_layer()
    assert torch.allclose(Int8Linear(weight, bias)(torch.zeros(1, 96))[0], bias, atol=1e-6)
