"""Random inputs and the tolerance every kernel test uses."""

from __future__ import annotations

import torch


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, spread: float = 1.0) -> torch.Tensor:
    """Normal values, the same for the same shape and seed."""
    generator = torch.Generator().manual_seed(seed * 1000003 + sum(shape))
    return (torch.randn(*shape, generator=generator) * spread).to(dtype)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """|actual - expected| / |expected| in the 2-norm; infinite when anything is NaN."""
    actual, expected = actual.double().flatten(), expected.double().flatten()
    if not bool(torch.isfinite(actual).all()):
        return float("inf")
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-30))


def assert_close(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    """Within one rounding of the activation type, on average."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    limit = 3e-3 if dtype == torch.bfloat16 else 5e-4
    assert relative_error(actual, expected) <= limit
