"""Does this network predict a position from its own row, or from the row before? Asked of the network itself.

A wrong logit shift is a silent failure: the text looks plausible and is garbage. So a few tokens of ordinary code are
masked, and the true tokens are looked up in both rows. A trained model is sure in one of them and lost in the other;
where both are alike (random weights) nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model_runtime.cache.canvas_cache import CanvasCache
from model_runtime.errors import CheckpointMismatch
from model_runtime.families.config import FamilyConfig
from model_runtime.models.decoder import CacheWindow
from model_runtime.tokenizer import Tokenizer

SAMPLE = '''def read_lines(path, encoding="utf-8"):
    """Return the lines of a file without their ends."""
    lines = []
    with open(path, encoding=encoding) as file:
        for line in file:
            lines.append(line.rstrip("\\n"))
    return lines


def count_words(lines):
    counts = {}
    for line in lines:
        for word in line.split():
            counts[word] = counts.get(word, 0) + 1
    return counts
'''
MASK_EVERY = 5
MARGIN = 3.0
"""Nats a token, on the average: the rows of a trained model are much further apart, those of a random one closer."""


class ProbedNetwork(Protocol):
    """What is asked of a network."""

    @property
    def device(self) -> torch.device: ...

    def forward_canvas(
        self, token_ids: Tensor, positions: Tensor, window: CacheWindow, mask: Tensor | None = None
    ) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class ShiftProbe:
    """Mean log-probability of the true tokens."""

    own_row: float
    row_before: float


def probe_shift(
    network: ProbedNetwork, cache: CanvasCache, config: FamilyConfig, tokenizer: Tokenizer, mask_token_id: int
) -> ShiftProbe:
    """One forward over the sample, every fifth token masked; the cache is empty afterwards."""
    truth = torch.tensor(tokenizer.encode(SAMPLE)[: cache.capacity], device=network.device)
    masked = torch.arange(MASK_EVERY, len(truth), MASK_EVERY, device=network.device)
    tokens = truth.clone()
    tokens[masked] = mask_token_id
    row = torch.arange(len(tokens), device=network.device)
    mask = None
    if config.family.attention == "block-causal":
        block = row // config.block_size
        mask = torch.zeros(len(tokens), len(tokens), device=network.device)
        mask.masked_fill_(block[:, None] < block[None, :], float("-inf"))
    cache.truncate(0)
    hidden = network.forward_canvas(tokens, row, cache.window(0, len(tokens)), mask)
    own, before = (
        torch.log_softmax(network.logits(hidden[rows]), dim=-1).gather(1, truth[masked][:, None]).mean()
        for rows in (masked, masked - 1)
    )
    return ShiftProbe(float(own), float(before))


def check_shift(
    network: ProbedNetwork, cache: CanvasCache, config: FamilyConfig, tokenizer: Tokenizer, mask_token_id: int
) -> None:
    """CheckpointMismatch if the network clearly predicts from the other row than its family says."""
    if config.family.attention == "reordered":
        return  # its masks stand behind all known tokens: the sample cannot be read in one forward
    probe = probe_shift(network, cache, config, tokenizer, mask_token_id)
    right, wrong = (probe.row_before, probe.own_row) if config.family.shift else (probe.own_row, probe.row_before)
    if wrong > right + MARGIN:
        says = "the row before" if config.family.shift else "its own row"
        raise CheckpointMismatch(
            f"family {config.family.name!r} predicts a position from {says}, this network does not "
            f"(log-probability {right:.1f} there, {wrong:.1f} in the other): import it as another family"
        )
