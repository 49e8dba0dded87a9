"""One denoising step over a canvas behind the committed tokens, and the rule for what of it to commit.

A canvas is guesses for the next positions. One forward evaluates all of them, causally, together with the newest
committed token in front (whose logits judge the first guess). Committed is the longest run of guesses the policy
accepts and, behind it, the model's own next token: every step commits at least one. With `lossless` a guess is
accepted when it is exactly what the model chooses there, so the text is that of one-token-a-forward decoding
(speculative verification: Leviathan et al. 2023, arXiv 2211.17192). With `fast` a guess is accepted as well when the
model finds it nearly as likely as its own choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model_runtime.api import SamplingParams
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.diffusion.samplers import Choices, choose, draft_ratios


class Network(Protocol):
    """What decoding needs of a network."""

    @property
    def device(self) -> torch.device: ...

    def forward(self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int = 0) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one denoising step decided."""

    token_ids: list[int]
    """Committed tokens in order, at least one; the last one is not in the cache yet."""
    log_probs: list[float]
    num_accepted: int
    """Guesses of the canvas among them."""
    canvas: list[int]
    """The model's refined guesses for the positions behind the committed ones."""


@torch.inference_mode()
def denoise_step(
    network: Network,
    cache: KeyValueCache,
    anchor: int,
    canvas: Sequence[int],
    params: SamplingParams,
    forbidden: Tensor,
    *,
    accept_all: bool = False,
) -> StepResult:
    """Evaluate `canvas` behind `anchor`, the newest committed token; commits the accepted rows to the cache.

    `forbidden` (F,) are ids never chosen. `accept_all` takes every guess as it is refined (a block's last step).
    """
    rows = torch.tensor([anchor, *canvas], device=network.device)
    logits = network.logits(network.forward(rows, cache))  # (1 + canvas, vocabulary)
    logits[:, forbidden] = float("-inf")
    choices = choose(logits, params.temperature, params.seed, cache.length + 1)
    num_accepted = _num_accepted(canvas, choices, logits, params)
    if accept_all:
        num_accepted = len(canvas)
    accepted = list(canvas[:num_accepted])
    log_probs = choices.log_probs[: num_accepted + 1]
    for i in range(num_accepted):
        if accepted[i] != choices.token_ids[i]:
            log_probs[i] = float(torch.log_softmax(logits[i], dim=-1)[accepted[i]])
    cache.commit([anchor, *accepted])
    return StepResult(
        [*accepted, choices.token_ids[num_accepted]], log_probs, num_accepted, choices.token_ids[num_accepted + 1 :]
    )


def _num_accepted(canvas: Sequence[int], choices: Choices, logits: Tensor, params: SamplingParams) -> int:
    if not canvas:
        return 0
    if params.policy == "fast":
        draft = torch.tensor(canvas, device=logits.device)
        ratios = draft_ratios(logits[: len(canvas)], draft)
        is_accepted = [ratio >= params.accept_threshold for ratio in ratios]
    else:
        is_accepted = [guess == choice for guess, choice in zip(canvas, choices.token_ids, strict=False)]
    return is_accepted.index(False) if False in is_accepted else len(is_accepted)
