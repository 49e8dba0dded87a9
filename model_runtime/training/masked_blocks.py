"""Noisy blocks behind a clean copy: which rows exist, what they may see, what they are asked.

One definition for training and decoding of a denoising forward, as plain integers and one boolean mask:

    clean rows   0..n-1      the tokens themselves, causal, exactly the base
    canvas rows  one block after another; a block behind anchor c stands at positions c+1..c+s

A canvas row sees the clean rows up to its anchor and every row of its own block, both ways; nothing sees a canvas row
from outside. As in the base, the row at position p predicts the token at p+1, so a block of s rows drafts s tokens
behind the one that the anchor's own (clean, causal) row already gives. Rows whose token is hidden hold the mask
embedding and run through the adapter; rows left visible do not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_BLOCK, MAX_BLOCK = 4, 64
ALL_MASKED_SHARE = 0.5
"""Of the blocks: decoding starts each block from masks alone, so half of the training does."""


@dataclass(frozen=True, slots=True)
class Block:
    """One noisy block: the anchor's position, and for each canvas position whether its token is hidden."""

    anchor: int
    is_masked: tuple[bool, ...]

    @property
    def size(self) -> int:
        """Canvas positions."""
        return len(self.is_masked)


@dataclass(frozen=True, slots=True)
class Canvas:
    """All blocks of one sequence, laid end to end. R rows, n clean rows, N scored rows."""

    positions: Tensor  # (1, R)
    tokens: Tensor  # (1, R) the true token of each row, used where visible
    is_masked: Tensor  # (1, R)
    mask: Tensor  # (1, 1, R, n + R), True where a canvas row may look
    scored_rows: Tensor  # (N,) masked rows
    targets: Tensor  # (N,) the token each scored row has to predict, one position on
    teacher_rows: Tensor  # (N,) the clean row that predicts the same token, knowing everything before it


def draw_blocks(length: int, first_anchor: int, num_blocks: int, rng: random.Random) -> list[Block]:
    """Blocks behind anchors in [first_anchor, length-3], sizes log-uniform in 4-64, cut where the sequence ends."""
    blocks = []
    for _ in range(num_blocks):
        anchor = rng.randint(first_anchor, length - 3)
        size = round(math.exp(rng.uniform(math.log(MIN_BLOCK), math.log(MAX_BLOCK))))
        size = min(size, length - 2 - anchor)  # the last row still has a next token to predict
        share = 1.0 if rng.random() < ALL_MASKED_SHARE else rng.random()
        hidden = [rng.random() < share for _ in range(size)]
        hidden[rng.randrange(size)] = True
        blocks.append(Block(anchor, tuple(hidden)))
    return blocks


def lay_out(ids: Sequence[int], blocks: Sequence[Block]) -> Canvas:
    """Build the rows of all blocks over one clean sequence."""
    num_clean = len(ids)
    positions = torch.tensor([block.anchor + 1 + j for block in blocks for j in range(block.size)])
    owner = torch.tensor([index for index, block in enumerate(blocks) for _ in range(block.size)])
    anchors = torch.tensor([block.anchor for block in blocks])[owner]
    is_masked = torch.tensor([hidden for block in blocks for hidden in block.is_masked])
    sees_clean = torch.arange(num_clean)[None] <= anchors[:, None]  # (R, n)
    sees_canvas = owner[:, None] == owner[None, :]  # (R, R)
    clean = torch.tensor(ids)
    scored = is_masked.nonzero()[:, 0]
    return Canvas(
        positions=positions[None],
        tokens=clean[positions][None],
        is_masked=is_masked[None],
        mask=torch.cat([sees_clean, sees_canvas], dim=1)[None, None],
        scored_rows=scored,
        targets=clean[positions[scored] + 1],
        teacher_rows=positions[scored],
    )
