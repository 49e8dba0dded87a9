"""A hole that finds its own length: the model writes "expand" for two more masks, and an end token to drop a position.

DreamOn's way (Wu et al. 2026, github.com/DreamLM/DreamOn): the largest gain in infilling published for a diffusion
model, since a fixed number of masks has to be right in advance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from model_runtime.diffusion.canvas import Canvas
from model_runtime.diffusion.canvas_views import View
from model_runtime.diffusion.unmask import Rule, score, select


@dataclass(slots=True)
class Lengths:
    """The hole and how far it may grow."""

    expand_id: int
    end_ids: frozenset[int]
    start: int
    length: int
    """Positions of the hole now."""
    max_length: int
    budget: int | None = None
    """Expansions left; None: as many as `max_length` allows."""

    def denoise(self, view: View, canvas: Canvas, rule: Rule) -> Iterator[None]:
        """Fill the hole, resizing it after every forward."""
        if self.budget is None:
            self.budget = self.max_length
        while self.length > 0:
            masked = canvas.is_masked(self.start, self.start + self.length)
            if not any(masked):
                return
            forbidden = canvas.forbidden
            if self.length >= self.max_length or self.budget <= 0:
                forbidden = torch.cat([forbidden, forbidden.new_tensor([self.expand_id])])
            logits = view.logits(canvas.token_ids, self.start, self.start + self.length)
            scores = score(logits, forbidden, rule, self.start)
            tokens, probabilities = scores.token_ids.tolist(), scores.probabilities.tolist()
            # From the right, so that a position that goes or doubles does not move those still to be written.
            for i in sorted(select(scores, masked, rule, 1), reverse=True):
                self._write(canvas, self.start + i, tokens[i], probabilities[i])
            yield

    def _write(self, canvas: Canvas, position: int, token_id: int, probability: float) -> None:
        if token_id == self.expand_id and self.length < self.max_length:
            assert self.budget is not None
            self.budget -= 1
            self._resize(canvas, position, 1)
            canvas.token_ids[position : position + 1] = [canvas.mask_token_id] * 2
        elif token_id in self.end_ids:
            self._resize(canvas, position, -1)
            del canvas.token_ids[position]
        elif token_id != self.expand_id:
            canvas.write(position, token_id, probability)

    def _resize(self, canvas: Canvas, position: int, change: int) -> None:
        """Positions behind a place move: so do the probabilities that belong to them."""
        self.length += change
        moved = {i + change: p for i, p in canvas.probabilities.items() if i > position}
        kept = {i: p for i, p in canvas.probabilities.items() if i < position}
        canvas.probabilities = kept | moved
