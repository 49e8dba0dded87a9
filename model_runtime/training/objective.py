"""What is learned: which tokens are scored, and how samples are packed so that none sees another.

A sample is a token sequence whose tail is to be predicted: the loss covers ids[prompt_length:], that is the hole (or
the edited text) and its end token, nothing of the prompt. Samples are laid end to end in one row; a block-diagonal
causal mask and positions that restart keep them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids, of which those from `prompt_length` on are to be learned; the last is the end token."""

    ids: tuple[int, ...]
    prompt_length: int
    kind: str


@dataclass(frozen=True, slots=True)
class Pack:
    """Samples end to end. T is their total length, N the number of scored tokens."""

    ids: Tensor  # (1, T)
    positions: Tensor  # (1, T), restarting at every sample
    mask: Tensor  # (1, 1, T, T), True where a query may look
    rows: Tensor  # (N,) rows whose next token is scored
    targets: Tensor  # (N,) that next token
    weights: Tensor  # (N,) share of each token in the loss, summing to one

    def to(self, device: torch.device) -> Pack:
        """The same on a device."""
        return Pack(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def pack(samples: Sequence[Sample]) -> Pack:
    """Lay samples end to end."""
    lengths = torch.tensor([len(sample.ids) for sample in samples])
    owner = torch.repeat_interleave(torch.arange(len(samples)), lengths)  # (T,)
    total = int(lengths.sum())
    causal = torch.ones(total, total, dtype=torch.bool).tril()
    mask = causal & (owner[:, None] == owner[None, :])
    starts = torch.cumsum(lengths, 0) - lengths
    num_scored = torch.tensor([len(sample.ids) - sample.prompt_length for sample in samples])
    # Each sample counts as the square root of its length: a long edit, mostly copied, must not drown the short holes
    # (whose end token is what healing is about), and a one-token hole must not weigh as much as six lines.
    weights = torch.repeat_interleave(num_scored.float() ** -0.5, num_scored)
    rows: list[int] = []
    targets: list[int] = []
    for start, sample in zip(starts.tolist(), samples, strict=True):
        rows += range(start + sample.prompt_length - 1, start + len(sample.ids) - 1)
        targets += sample.ids[sample.prompt_length :]
    return Pack(
        ids=torch.tensor([[token for sample in samples for token in sample.ids]]),
        positions=(torch.arange(total) - starts[owner])[None],
        mask=mask[None, None],
        rows=torch.tensor(rows),
        targets=torch.tensor(targets),
        weights=weights / weights.sum(),
    )


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each scored token, (N,), nats."""
    return functional.cross_entropy(logits, targets, reduction="none")
