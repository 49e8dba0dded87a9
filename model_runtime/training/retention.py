"""What healing must not take away: plain continuation and chat, held near the base by its own distribution.

Healing scores holes and edits only. Left alone it teaches the end token so well that a plain prompt ends at once, and
a chat answer drifts. So every batch carries some ordinary text, in the two layouts that healing does not train; the
loss there is the divergence from the frozen base's next-token distribution (knowledge distillation, Hinton et al.
2015), which nothing but a change of the base's behaviour raises.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from model_runtime.prompts import FENCE, GENERATE_SYSTEM, chat_ids, opening_fence
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.network import TrainingNetwork
from model_runtime.training.objective import Pack, Sample

CHAT_SHARE = 0.25
UNSCORED_TOKENS = 4
"""The first tokens of a text follow from nothing: their distribution says little."""
MIN_CHARS, MAX_CHARS = 80, 700

CUT_EVERY_CHARS = 60
"""Text is encoded in pieces, as prompts are: a prompt that ends at a line's end lacks the token that joins that end
with the newline. Holes end there too, so without such cuts the end token wins exactly where prompts end."""
CUT_AT_LINE_END_SHARE = 0.7

_DEFINITION = re.compile(r"^[ \t]*(?:async def|def|class|export|function|func|fn)\b", re.MULTILINE)
_NAME = re.compile(r"\b(?:def|class|function|func|fn|const)\s+(\w+)")


def draw_plain(source: SourceFile, tokenizer: Tokenizer, rng: random.Random) -> Sample | None:
    """A stretch of the file as a plain prompt, or as a chat answer; None where the file is too short."""
    text = source.text
    start = _draw_start(text, rng)
    piece = text[start : start + rng.randint(MIN_CHARS, MAX_CHARS)]
    if len(piece) < MIN_CHARS:
        return None
    ids = [token for part in cut_text(piece, rng) for token in tokenizer.encode(part)]
    if rng.random() >= CHAT_SHARE:
        return Sample(tuple(ids), UNSCORED_TOKENS, "plain")
    name = _NAME.search(piece)
    request = f"Write `{name[1]}` in {source.language}." if name else f"Write some {source.language} code."
    prompt = chat_ids(tokenizer, GENERATE_SYSTEM, request, answer_start=opening_fence(source.language))
    return Sample((*prompt, *ids, *tokenizer.encode(f"\n{FENCE}")), len(prompt), "chat")


def _draw_start(text: str, rng: random.Random) -> int:
    """The file's start, a definition's, or any line's: where prompts begin."""
    kind = rng.random()
    pattern = _DEFINITION if kind < 0.5 else re.compile(r"^(?=.*\S)", re.MULTILINE)
    starts = [match.start() for match in pattern.finditer(text)] if kind < 0.8 else []
    return rng.choice(starts) if starts else 0


def cut_text(piece: str, rng: random.Random) -> list[str]:
    """The text in parts: cuts mostly before a newline, some anywhere."""
    ends = [match.start() for match in re.finditer(r"(?<=\S)\n", piece)]
    cuts = {0, len(piece)}
    for _ in range(max(1, len(piece) // CUT_EVERY_CHARS)):
        at_end = ends and rng.random() < CUT_AT_LINE_END_SHARE
        cuts.add(rng.choice(ends) if at_end else rng.randrange(1, len(piece)))
    ordered = sorted(cuts)
    return [piece[start:end] for start, end in pairwise(ordered)]


def plain_samples(
    sources: Sequence[SourceFile], tokenizer: Tokenizer, rng: random.Random, max_tokens: int
) -> list[Sample]:
    """As many as fit `max_tokens`, at least one; a longer one is cut to fit."""
    samples: list[Sample] = []
    room = max_tokens
    for sample in _endless(sources, tokenizer, rng):
        if samples and len(sample.ids) > room:
            return samples
        cut = Sample(sample.ids[: max(room, sample.prompt_length + 1)], sample.prompt_length, sample.kind)
        samples.append(cut)
        room -= len(cut.ids)
    raise AssertionError("the data has no file long enough")


def _endless(sources: Sequence[SourceFile], tokenizer: Tokenizer, rng: random.Random) -> Iterator[Sample]:
    for _ in range(1000):
        sample = draw_plain(rng.choice(sources), tokenizer, rng)
        if sample is not None and len(sample.ids) > sample.prompt_length:
            yield sample


def drift(network: TrainingNetwork, batch: Pack, first_layer: int, states: Tensor) -> tuple[Tensor, Tensor]:
    """KL(base || adapted) of every scored row, nats (N,), and where both choose the same token, (N,) of booleans.

    `states` (1, T, V) enter the first adapted layer. Gradient goes into the adapter; the base's side has none.
    """
    upper = range(first_layer, network.config.num_layers)
    with torch.no_grad():
        gate = torch.zeros(1, 1, 1, dtype=network.head.dtype)  # every row without the adapter: the base itself
        hidden = network.run_layers(states, batch.positions, batch.mask, gate=gate, layers=upper)
        base = functional.log_softmax(network.logits(hidden[0, batch.rows]), dim=-1)
    hidden = network.run_layers(states, batch.positions, batch.mask, layers=upper)
    adapted = functional.log_softmax(network.logits(hidden[0, batch.rows]), dim=-1)
    divergence = functional.kl_div(adapted, base, reduction="none", log_target=True).sum(-1)
    return divergence, adapted.argmax(-1) == base.argmax(-1)
