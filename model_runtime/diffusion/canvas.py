"""Denoise the masked positions of a sequence until none is left, step by step, in whatever way the family sees it.

`denoise_span` is one block (or a part of one); the callers say which span comes next and what ends the text. After
every forward it yields, so that cancellation and deadlines wait for one step at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model_runtime.diffusion.canvas_views import View
from model_runtime.diffusion.unmask import Rule, Scores, quota, revisions, score, select


@dataclass(slots=True)
class Canvas:
    """A sequence under construction."""

    token_ids: list[int]
    mask_token_id: int
    forbidden: Tensor
    """(F,) ids that are never written."""
    probabilities: dict[int, float] = field(default_factory=dict)
    """Of each written token when it was written, by position."""

    def is_masked(self, start: int, stop: int) -> list[bool]:
        """Which positions of a span are still open."""
        return [token == self.mask_token_id for token in self.token_ids[start:stop]]

    def frontier(self, start: int) -> int:
        """The first masked position from `start` on; the end of the sequence without one."""
        for i in range(start, len(self.token_ids)):
            if self.token_ids[i] == self.mask_token_id:
                return i
        return len(self.token_ids)

    def write(self, position: int, token_id: int, probability: float) -> None:
        """Put a token on the canvas."""
        self.token_ids[position] = token_id
        self.probabilities[position] = probability


def denoise_span(view: View, canvas: Canvas, start: int, stop: int, rule: Rule, first_free: int = 0) -> Iterator[None]:
    """Fill the masks of [start, stop); positions before `first_free` are never revised."""
    at_start = sum(canvas.is_masked(start, stop))
    step = edit_steps = 0
    while True:
        masked = canvas.is_masked(start, stop)
        num_masks = sum(masked)
        if num_masks == 0:
            edit_steps += 1
            if rule.edit_threshold is None or edit_steps > rule.max_edit_steps or at_start == 0:
                return
        wanted = quota(rule, step, num_masks, at_start) if num_masks else 0
        step += 1
        if wanted == 0 and num_masks and rule.threshold is None:
            continue  # this step of the schedule commits nothing: it needs no forward
        scores = score(view.logits(canvas.token_ids, start, stop), canvas.forbidden, rule, start)
        changed = _apply(canvas, scores, start, masked, rule, wanted, first_free)
        yield
        if num_masks == 0 and not changed:
            return


def _apply(
    canvas: Canvas, scores: Scores, start: int, masked: list[bool], rule: Rule, wanted: int, first_free: int
) -> bool:
    """Write what the rule chooses; True if a known token was replaced."""
    chosen = select(scores, masked, rule, wanted) if any(masked) else []
    span = canvas.token_ids[start : start + len(masked)]
    is_fixed = [each or start + i < first_free for i, each in enumerate(masked)]
    revised = revisions(scores, span, is_fixed, rule)
    tokens, probabilities = scores.token_ids.tolist(), scores.probabilities.tolist()
    for i in (*chosen, *revised):
        canvas.write(start + i, tokens[i], probabilities[i])
    return bool(revised)


def next_token(logits: Tensor, forbidden: Tensor) -> tuple[int, float]:
    """The surest token of one row (vocabulary,) and its probability."""
    probabilities = torch.softmax(logits.index_fill(0, forbidden, float("-inf")), dim=-1)
    token = int(probabilities.argmax())
    return token, float(probabilities[token])
