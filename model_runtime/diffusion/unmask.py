"""Which masked positions a denoising step commits: how sure the model is, and how many the schedule wants.

Pure rules over one step's logits. They know neither network nor cache; `canvas.py` applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.diffusion.samplers import choose
from model_runtime.families.table import Order, Schedule

_TINY = 1e-10


@dataclass(frozen=True, slots=True)
class Rule:
    """How one request denoises."""

    order: Order = "confidence"
    schedule: Schedule = "one"
    steps: int | None = None
    """Denoising steps a block gets under `even`, `spread` and `linear`; None: as many as it has masks."""
    threshold: float | None = None
    """Positions surer than this are committed together, when they are at least as many as the schedule wants."""
    is_sequential: bool = False
    """Always the leftmost mask: one token after the other."""
    edit_threshold: float | None = None
    max_edit_steps: int = 16
    epsilon: float = 1e-3
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model wants at each position of a span."""

    token_ids: Tensor
    """(M,)"""
    probabilities: Tensor
    """(M,) of those tokens."""
    certainty: Tensor
    """(M,) what positions are ordered by; larger is surer."""


def score(logits: Tensor, forbidden: Tensor, rule: Rule, first_position: int) -> Scores:
    """logits (M, vocabulary) of positions from `first_position` on; `forbidden` (F,) are never chosen."""
    logits = logits.index_fill(1, forbidden, float("-inf"))
    probabilities = torch.softmax(logits, dim=-1)
    if rule.temperature > 0.0:
        rows = [choose(logits[i : i + 1], rule.temperature, rule.seed, first_position + i) for i in range(len(logits))]
        tokens = torch.tensor([row.token_ids[0] for row in rows], device=logits.device)
    else:
        tokens = probabilities.argmax(dim=-1)
    chosen = probabilities.gather(1, tokens[:, None])[:, 0]
    negative_entropy = (probabilities * torch.log(probabilities + _TINY)).sum(dim=-1)
    return Scores(tokens, chosen, negative_entropy if rule.order == "entropy" else chosen)


def quota(rule: Rule, step: int, num_masks: int, num_at_start: int) -> int:
    """Positions to commit at least in this step (0-based); 0 means that the step does nothing and needs no forward."""
    if rule.schedule == "one" or rule.is_sequential:
        return 1
    steps = rule.steps or num_at_start
    if rule.schedule == "even":
        steps = min(steps, num_at_start)
    if step >= steps - 1:
        return num_masks  # the last step takes what is left
    if rule.schedule == "even":
        return num_at_start // steps + (step < num_at_start % steps)
    if rule.schedule == "spread":
        return round(num_masks / (steps - step))
    # Linear: time falls from 1 to epsilon; the masks that belong to the difference go.
    now, then = (1 - (1 - rule.epsilon) * i / steps for i in (step, step + 1))
    return int(num_masks * (1 - then / now))


def select(scores: Scores, is_masked: Sequence[bool], rule: Rule, wanted: int) -> list[int]:
    """Indices of the span to commit, all of them masked."""
    masked = [i for i, each in enumerate(is_masked) if each]
    if rule.is_sequential:
        return masked[:wanted]
    index = torch.tensor(masked, device=scores.certainty.device)
    if rule.threshold is not None:
        sure = index[scores.probabilities[index] > rule.threshold]
        if len(sure) >= max(1, wanted):
            return sure.tolist()
    best = torch.topk(scores.certainty[index], min(wanted, len(masked))).indices
    return index[best].tolist()


def revisions(scores: Scores, token_ids: Sequence[int], is_fixed: Sequence[bool], rule: Rule) -> list[int]:
    """Indices whose known token another one beats surely (joint commit and edit thresholds of LLaDA2.1)."""
    if rule.edit_threshold is None:
        return []
    pairs = zip(scores.token_ids.tolist(), scores.probabilities.tolist(), strict=True)
    return [
        i
        for i, (token, probability) in enumerate(pairs)
        if not is_fixed[i] and probability > rule.edit_threshold and token != token_ids[i]
    ]
