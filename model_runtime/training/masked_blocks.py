"""Canvases behind a clean copy: which rows exist, what they may see, what they are asked.

The rows of one training forward, as plain integers and one boolean mask, for several sequences side by side:

    clean rows   0..n-1      the tokens themselves, causal, exactly the base
    canvas rows  one block after another; a block behind anchor c stands at positions c+1..c+s

A canvas row sees the clean rows up to its anchor and every row of its own block, both ways; nothing sees a canvas row
from outside. What a row shows and answers is `model_runtime.diffusion.noise`'s business.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model_runtime.diffusion.noise import NOT_ASKED, CanvasBlock, mask_block

MIN_BLOCK, MAX_BLOCK = 4, 64
ALL_MASKED_SHARE = 0.5
"""Of the blocks: decoding starts each block from masks alone, so half of the training does."""


@dataclass(frozen=True, slots=True)
class BlockShape:
    """How masked blocks are drawn."""

    min_size: int = MIN_BLOCK
    max_size: int = MAX_BLOCK
    all_masked_share: float = ALL_MASKED_SHARE


@dataclass(frozen=True, slots=True)
class Canvas:
    """All blocks of B sequences. n clean rows and R canvas rows each (padded), N asked rows altogether."""

    ids: Tensor  # (B, n) clean tokens, padded behind their end, where nothing looks
    tokens: Tensor  # (B, R) what the slots show
    positions: Tensor  # (B, R)
    mask: Tensor  # (B, 1, R, n + R), True where a canvas row may look
    asked_rows: Tensor  # (N,) indices into the B * R canvas rows
    answers: Tensor  # (N,) the right answers
    clean_rows: Tensor  # (N,) indices into the B * n clean rows that predict the same token; -1 where none does
    depths: Tensor  # (N,) place of the row in its block, from 0

    def to(self, device: torch.device) -> Canvas:
        """The same on a device."""
        return Canvas(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def draw_blocks(
    ids: Sequence[int],
    first_anchor: int,
    num_blocks: int,
    mask: int,
    rng: random.Random,
    shape: BlockShape | None = None,
) -> list[CanvasBlock]:
    """Masked blocks behind anchors in [first_anchor, len(ids)-3], sizes log-uniform, cut where the sequence ends."""
    shape = shape or BlockShape()
    blocks = []
    for _ in range(num_blocks):
        anchor, size = draw_place(len(ids), first_anchor, rng, shape)
        share = 1.0 if rng.random() < shape.all_masked_share else rng.random()
        hidden = [rng.random() < share for _ in range(size)]
        hidden[rng.randrange(size)] = True
        blocks.append(mask_block(ids, anchor, hidden, mask))
    return blocks


def draw_place(
    length: int, first_anchor: int, rng: random.Random, shape: BlockShape, min_room: int = 1
) -> tuple[int, int]:
    """An anchor with room for `min_room` slots, and a size such that every row of the block has a token behind it."""
    anchor = rng.randint(first_anchor, max(first_anchor, length - 2 - min_room))
    size = round(math.exp(rng.uniform(math.log(shape.min_size), math.log(shape.max_size))))
    return anchor, min(size, length - 2 - anchor)


def lay_out(sequences: Sequence[Sequence[int]], blocks: Sequence[Sequence[CanvasBlock]]) -> Canvas:
    """Build the rows of all blocks over their clean sequences; `blocks[i]` belongs to `sequences[i]`."""
    num_clean = max(map(len, sequences))
    num_rows = max(sum(block.size for block in own) for own in blocks)
    parts = [_rows_of(ids, own, num_clean, num_rows) for ids, own in zip(sequences, blocks, strict=True)]
    asked_rows, answers, clean_rows, depths = [], [], [], []
    for b, own in enumerate(blocks):
        row = b * num_rows
        for block in own:
            for i, (answer, clean_row) in enumerate(zip(block.answers, block.clean_rows, strict=True)):
                if answer != NOT_ASKED:
                    asked_rows.append(row + i)
                    answers.append(answer)
                    clean_rows.append(b * num_clean + clean_row if clean_row >= 0 else -1)
                    depths.append(i)
            row += block.size
    return Canvas(
        ids=torch.tensor([[*ids, *[0] * (num_clean - len(ids))] for ids in sequences]),
        tokens=torch.stack([part[0] for part in parts]),
        positions=torch.stack([part[1] for part in parts]),
        mask=torch.stack([part[2] for part in parts])[:, None],
        asked_rows=torch.tensor(asked_rows),
        answers=torch.tensor(answers),
        clean_rows=torch.tensor(clean_rows),
        depths=torch.tensor(depths),
    )


def _rows_of(
    ids: Sequence[int], blocks: Sequence[CanvasBlock], num_clean: int, num_rows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (R,), positions (R,) and mask (R, n + R) of one sequence; rows that pad see themselves only."""
    padding = num_rows - sum(block.size for block in blocks)
    tokens = [token for block in blocks for token in block.shown] + [0] * padding
    places = [block.anchor + 1 + i for block in blocks for i in range(block.size)] + [0] * padding
    owners = [index for index, block in enumerate(blocks) for _ in range(block.size)]
    owner = torch.tensor([*owners, *(-1 - i for i in range(padding))])
    anchors = torch.tensor([blocks[index].anchor for index in owners] + [-1] * padding)
    sees_clean = torch.arange(num_clean)[None] <= anchors[:, None]  # (R, n)
    sees_canvas = owner[:, None] == owner[None, :]  # (R, R)
    return torch.tensor(tokens), torch.tensor(places), torch.cat([sees_clean, sees_canvas], dim=1)
