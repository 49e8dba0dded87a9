"""One denoising step over a canvas behind the committed tokens, and the rule for what of it to commit.

A canvas is guesses for the next positions. One forward evaluates all of them, causally, together with the newest
committed token in front (whose logits judge the first guess). Committed is the longest run of guesses the policy
accepts and, behind it, the model's own next token: every step commits at least one. With `lossless` a guess is
accepted when it is exactly what the model chooses there, so the text is that of one-token-a-forward decoding
(speculative verification: Leviathan et al. 2023, arXiv 2211.17192). With `fast` a guess is accepted as well when the
model finds it nearly as likely as its own choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model_runtime.api import SamplingParams
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.diffusion.device_step import decide_step, decides_by_itself
from model_runtime.diffusion.samplers import Choices, choose, draft_ratios
from model_runtime.layers.linear import serial_between_products


class Network(Protocol):
    """What decoding needs of a network."""

    @property
    def device(self) -> torch.device: ...

    def forward(
        self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int = 0, *, is_prompt: bool = False
    ) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one forward, in order behind what is `unread`."""

    anchor: int
    """The newest committed token, not in the cache yet."""
    canvas: Sequence[int]
    """Guesses for the positions behind it, evaluated causally."""
    masks: Sequence[int] = ()
    """Masked positions behind those, bidirectional, through the denoiser: they draft the next canvas."""
    unread: Sequence[int] = ()
    """In front of all: the end of the prompt before the anchor, where it was left to this forward; asked nothing."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one denoising step decided."""

    token_ids: list[int]
    """Committed tokens in order, at least one; the last one is not in the cache yet."""
    log_probs: list[float]
    num_accepted: int
    """Guesses of the canvas among them."""
    canvas: list[int]
    """Guesses for the positions behind the committed ones: the masked rows' where the whole canvas was accepted."""
    canvas_probs: list[float]
    """Of those guesses, each given what stood before it in this forward."""
    first_choices: list[tuple[int, float]]
    """The likeliest tokens of the anchor's row with their log-probabilities, when asked for."""


@torch.inference_mode()
def denoise_step(
    network: Network,
    cache: KeyValueCache,
    rows: Rows,
    params: SamplingParams,
    forbidden: Tensor,
    *,
    allowed: Sequence[Sequence[int]] = (),
    refused: Sequence[int] = (),
    accept_all: bool = False,
    num_first_choices: int = 0,
) -> StepResult:
    """Evaluate the canvas behind the anchor; commits what was unread, the anchor and the accepted rows to the cache.

    `forbidden` (F,) are ids never chosen; `allowed` are the only ids that the first rows may choose (healing.py),
    `refused` ids that the anchor's row may not.
    `accept_all` takes every guess as it is (a block's last step).
    """
    is_plain = num_first_choices == 0 and not rows.unread and not refused
    if is_plain and decides_by_itself(network, params, allowed):
        given = (network, cache, rows.anchor, rows.canvas, len(rows.masks), params, forbidden)
        return StepResult(*decide_step(*given, accept_all=accept_all), first_choices=[])
    canvas, num_causal, num_unread = rows.canvas, 1 + len(rows.canvas), len(rows.unread)
    ids = torch.tensor([*rows.unread, rows.anchor, *canvas, *rows.masks], device=network.device)
    hidden = network.forward(ids, cache, num_canvas=len(rows.masks))
    logits = network.logits(hidden[num_unread:])  # (anchor + canvas + masks, vocabulary)
    # One thread: with several, torch splits a lone row's sum over the vocabulary, and a token's probability would
    # depend in its last bits on how many rows it was evaluated with.
    with serial_between_products():
        logits[:, forbidden] = float("-inf")
        logits[0, list(refused)] = float("-inf")
        _restrict(logits, allowed)
        choices = choose(logits[:num_causal], params.temperature, params.seed, cache.length + num_unread + 1)
        num_accepted = len(canvas) if accept_all else _num_accepted(canvas, choices, logits, params)
        accepted = list(canvas[:num_accepted])
        log_probs = choices.log_probs[: num_accepted + 1]
        for i in range(num_accepted):
            if accepted[i] != choices.token_ids[i]:
                log_probs[i] = float(torch.log_softmax(logits[i], dim=-1)[accepted[i]])
        cache.commit([*rows.unread, rows.anchor, *accepted])
        if num_accepted < len(canvas):  # the masked rows stood behind a wrong guess
            refined = choices.token_ids[num_accepted + 1 :]
            probs = [math.exp(each) for each in choices.log_probs[num_accepted + 1 :]]
        else:
            refined, probs = _guesses(logits[num_causal:])
        token_ids = [*accepted, choices.token_ids[num_accepted]]
        first_choices = _likeliest(logits[0], num_first_choices) if num_first_choices else []
        return StepResult(token_ids, log_probs, num_accepted, refined, probs, first_choices)


@torch.inference_mode()
def draft_step(network: Network, cache: KeyValueCache, rows: Rows, forbidden: Tensor) -> tuple[list[int], list[float]]:
    """The masked rows alone behind the anchor: guesses and their probabilities; commits nothing.

    What a step costs when drafting is not fused with verifying (`Switches.fusion`).
    """
    token_ids = torch.tensor([rows.anchor, *rows.masks], device=network.device)
    logits = network.logits(network.forward(token_ids, cache, num_canvas=len(rows.masks)))[1:]
    with serial_between_products():
        logits[:, forbidden] = float("-inf")
        return _guesses(logits)


def _guesses(logits: Tensor) -> tuple[list[int], list[float]]:
    """The likeliest token of each row and its probability."""
    if not logits.shape[0]:
        return [], []
    best, ids = logits.max(dim=-1)
    return ids.tolist(), torch.exp(best - torch.logsumexp(logits, dim=-1)).tolist()


def _likeliest(logits: Tensor, count: int) -> list[tuple[int, float]]:
    """Up to `count` ids of a row (vocabulary,) that may be chosen, with their log-probabilities, best first."""
    best, ids = torch.topk(logits, min(count, logits.shape[0]))
    log_probs = best - torch.logsumexp(logits, dim=-1)
    pairs = zip(ids.tolist(), log_probs.tolist(), strict=True)
    return [(token_id, log_prob) for token_id, log_prob in pairs if log_prob > float("-inf")]


def _restrict(logits: Tensor, allowed: Sequence[Sequence[int]]) -> None:
    for i, ids in enumerate(allowed):
        kept = torch.tensor(ids, dtype=torch.long, device=logits.device)
        values = logits[i, kept]
        logits[i] = float("-inf")
        logits[i, kept] = values


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
