"""Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467)."""

from __future__ import annotations

import torch
from torch import Tensor


class RmsNorm:
    """Scale each row of (T, V) to unit mean square, in float32 whatever the input type."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        self.weight = weight.float()
        self.epsilon = epsilon

    def __call__(self, x: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x.float(), self.weight.shape, self.weight, self.epsilon)
