"""What is learned: which tokens are scored, and how samples are packed so that none sees another.

A sample is a token sequence whose tail is to be predicted: the loss covers ids[prompt_length:], that is the hole (or
the edited text) and its end token, nothing of the prompt. Samples are laid end to end in one row; a mask and positions
that restart keep them apart. A sample that begins as the one before it does is a branch of it: what both begin with is
computed once (tree attention, as in Miao et al. 2023, SpecInfer), and the loss is what it would be without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise, takewhile

import torch
from torch import Tensor
from torch.nn import functional

MIN_SHARED = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids, of which those from `prompt_length` on are to be learned; the last is the end token."""

    ids: tuple[int, ...]
    prompt_length: int
    kind: str


@dataclass(frozen=True, slots=True)
class Pack:
    """Samples end to end. T is the number of rows they need, N the number of scored tokens."""

    ids: Tensor  # (1, T)
    positions: Tensor  # (1, T), of each token in its own sample
    mask: Tensor  # (1, 1, T, T), True where a query may look
    rows: Tensor  # (N,) rows whose next token is scored
    targets: Tensor  # (N,) that next token
    weights: Tensor  # (N,) share of each token in the loss, summing to one

    def to(self, device: torch.device) -> Pack:
        """The same on a device."""
        return Pack(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def pack(samples: Sequence[Sample]) -> Pack:
    """Lay samples end to end, in their order. No row reads a sample's last token: it is only ever a target."""
    ids: list[int] = []
    positions: list[int] = []
    rows: list[int] = []
    targets: list[int] = []
    paths: list[tuple[Tensor, int]] = []  # the rows a sample is read from, and how many of them are not its own
    path: list[int] = []
    for number, sample in enumerate(samples):
        length = len(sample.ids) - 1
        shared = shared_length(samples[number - 1], sample) if number else 0
        path = path[:shared] + list(range(len(ids), len(ids) + length - shared))
        paths.append((torch.tensor(path), shared))
        ids += sample.ids[shared:length]
        positions += range(shared, length)
        rows += path[sample.prompt_length - 1 :]
        targets += sample.ids[sample.prompt_length :]
    mask = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    for seen, shared in paths:
        mask[seen[shared:, None], seen[None]] = torch.ones(len(seen), len(seen), dtype=torch.bool).tril()[shared:]
    # Each sample counts as the square root of its length: a long edit, mostly copied, must not drown the short holes
    # (whose end token is what healing is about), and a one-token hole must not weigh as much as six lines.
    num_scored = torch.tensor([len(sample.ids) - sample.prompt_length for sample in samples])
    weights = torch.repeat_interleave(num_scored.float() ** -0.5, num_scored)
    return Pack(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        mask=mask[None, None],
        rows=torch.tensor(rows),
        targets=torch.tensor(targets),
        weights=weights / weights.sum(),
    )


def shared_length(before: Sample, sample: Sample) -> int:
    """How many rows of the sample are those of the one before it; a few tokens in common are not worth it."""
    pairs = zip(before.ids[:-1], sample.ids[:-1], strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return shared if shared >= MIN_SHARED else 0


def packed_length(samples: Sequence[Sample]) -> int:
    """Rows that `pack` needs for them."""
    lengths = sum(len(sample.ids) - 1 for sample in samples)
    return lengths - sum(shared_length(*pair) for pair in pairwise(samples))


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each scored token, (N,), nats."""
    return functional.cross_entropy(logits, targets, reduction="none")
