"""From logits to one chosen token a row.

The choice at a position depends on its logits, the seed and the position alone, never on how many rows were evaluated
together: drafting more or less in parallel cannot change the text. With a temperature the choice is the Gumbel-max
trick with noise keyed by (seed, position), so sampling is as reproducible, and as verifiable in parallel, as greedy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Choices:
    """What the model wants at each row, on the CPU."""

    token_ids: list[int]
    log_probs: list[float]
    """Of the chosen tokens, before temperature."""


def choose(logits: Tensor, temperature: float, seed: int, first_position: int) -> Choices:
    """logits (R, vocabulary), row i standing at position `first_position` + i of the sequence."""
    scores = logits if temperature == 0.0 else logits / temperature + _gumbel_noise(logits, seed, first_position)
    chosen = scores.argmax(dim=-1)  # (R,)
    log_probs = logits.gather(1, chosen[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
    return Choices(chosen.tolist(), log_probs.tolist())


def draft_ratios(logits: Tensor, draft: Tensor) -> list[float]:
    """Probability of each draft token (R,) as a fraction of its row's best token's, 0-1."""
    of_draft = logits.gather(1, draft[:, None])[:, 0]
    return torch.exp(of_draft - logits.amax(dim=-1)).tolist()


def _gumbel_noise(logits: Tensor, seed: int, first_position: int) -> Tensor:
    rows = []
    for i in range(logits.shape[0]):
        # A generator a position: the noise must not depend on how positions are grouped into rows.
        generator = torch.Generator().manual_seed((seed * 1_000_003 + first_position + i) % 2**63)
        rows.append(torch.rand(logits.shape[1], generator=generator))
    uniform = torch.stack(rows).clamp_(1e-20, 1.0 - 1e-7)
    return -torch.log(-torch.log(uniform)).to(logits.device)
