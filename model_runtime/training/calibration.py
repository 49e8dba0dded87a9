"""Is a probability worth its name: calibration error, and the one temperature that mends most of it.

Expected calibration error and temperature scaling: Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

NUM_BINS = 10
_GOLDEN = (math.sqrt(5) - 1) / 2


def calibration_error(confidence: Tensor, is_right: Tensor) -> float:
    """Mean gap between confidence (N,) and accuracy over ten equal bins, weighted by their counts; 0 for no rows."""
    if confidence.numel() == 0:
        return 0.0
    place = (confidence * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    gap = 0.0
    for number in range(NUM_BINS):
        inside = place == number
        if inside.any():
            share = float(inside.float().mean())
            gap += share * abs(float(confidence[inside].mean()) - float(is_right[inside].float().mean()))
    return gap


def fit_temperature(logits: Tensor, answers: Tensor) -> float:
    """The temperature in 0.25-4 under which the answers (N,) are likeliest for logits (N, vocabulary)."""

    def loss(log_temperature: float) -> float:
        return float(functional.cross_entropy(logits / math.exp(log_temperature), answers))

    low, high = math.log(0.25), math.log(4.0)
    # Golden-section search: the loss has one minimum in the logarithm of the temperature's inverse.
    while high - low > 0.01:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def confidence_of(logits: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Best answer (N,) of each row and its probability (N,)."""
    best = torch.softmax(logits / temperature, dim=-1).max(dim=-1)
    return best.indices, best.values
