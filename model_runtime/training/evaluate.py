"""Held-out measurement of a healed base: does an infill end by itself, is it right, how near is it.

Owns fixed held-out cases and batched greedy decoding with the training network, causal, one token a forward: this
measures the weights. The decoder's own quality and speed are measured by model_runtime.evaluation.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from model_runtime.tokenizer import Tokenizer
from model_runtime.training.data.edits import draw_edit
from model_runtime.training.data.fim import ContextWidths, draw_hole
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.network import KeyValues, TrainingNetwork
from model_runtime.training.objective import Sample
from model_runtime.training.samples import SampleMaker, is_short_enough

EXTRA_TOKENS = 24
"""Tokens allowed beyond the true answer's length: who has not ended by then does not end by itself."""
DECODE_BATCH = 32
DECODE_BATCH_GPU = 256

KINDS = ("prefix_first/single", "prefix_first/multi", "suffix_first/single", "suffix_first/multi", "edit")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One decoded case."""

    kind: str
    has_ended: bool
    is_exact: bool
    similarity: float
    """Of characters, 0-1 (difflib ratio)."""
    text: str
    truth: str


def held_out_samples(sources: Sequence[SourceFile], maker: SampleMaker, per_kind: int, seed: int) -> list[Sample]:
    """`per_kind` fixed samples of each kind; single- and multi-line holes are the same in both layouts."""
    rng = random.Random(seed)
    found: dict[str, list[Sample]] = {kind: [] for kind in KINDS}
    python = [source for source in sources if source.language == "python"]
    while min(len(samples) for samples in found.values()) < per_kind:
        hole = draw_hole(rng.choice(list(sources)), rng, ContextWidths())
        if hole is not None and hole.middle.strip() and hole.suffix:
            for suffix_first in (False, True):
                _keep(found, maker.infill(hole, suffix_first=suffix_first), per_kind)
        pair = draw_edit(rng.choice(python), rng)
        if pair is not None:
            _keep(found, maker.edit(pair), per_kind)
    return [sample for kind in KINDS for sample in found[kind]]


def _keep(found: dict[str, list[Sample]], sample: Sample, per_kind: int) -> None:
    if is_short_enough(sample) and len(found[sample.kind]) < per_kind:
        found[sample.kind].append(sample)


def decode_greedy(
    network: TrainingNetwork, prompts: Sequence[Sequence[int]], stop_ids: Sequence[int], max_tokens: Sequence[int]
) -> list[list[int]]:
    """Continue each prompt greedily until a stop token (included) or its own limit. One batch, padded on the left."""
    width, device = max(map(len, prompts)), network.device
    pads = torch.tensor([width - len(prompt) for prompt in prompts], device=device)
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    columns = torch.arange(width, device=device)
    positions = (columns[None] - pads[:, None]).clamp(min=0)
    is_real = columns[None] >= pads[:, None]  # (B, S)
    mask = torch.ones(width, width, dtype=torch.bool, device=device).tril()[None] & is_real[:, None]
    mask |= torch.eye(
        width, dtype=torch.bool, device=device
    )  # a padding row sees itself, or its softmax would be empty
    caches = [KeyValues() for _ in range(network.config.num_layers)]
    answers: list[list[int]] = [[] for _ in prompts]
    is_done = [False] * len(prompts)
    with torch.no_grad():
        x = network.run_layers(network.embed(ids), positions, mask[:, None], caches=caches)
        for step in range(max(max_tokens)):
            best = network.logits(x[:, -1]).argmax(-1)
            for row, token in enumerate(best.tolist()):
                if not is_done[row]:
                    answers[row].append(token)
                    is_done[row] = token in stop_ids or len(answers[row]) >= max_tokens[row]
            if all(is_done):
                break
            is_real = torch.cat([is_real, is_real.new_ones(len(prompts), 1)], dim=1)
            positions = (width + step - pads)[:, None]
            x = network.run_layers(network.embed(best[:, None]), positions, is_real[:, None, None], caches=caches)
    return answers


def evaluate(
    network: TrainingNetwork,
    tokenizer: Tokenizer,
    samples: Sequence[Sample],
    report: Callable[[str], None],
) -> list[Outcome]:
    """Decode every sample's prompt and compare with its target."""
    outcomes: list[Outcome] = []
    for start in range(0, len(samples), DECODE_BATCH):
        batch = samples[start : start + DECODE_BATCH]
        stop_ids = sorted({sample.ids[-1] for sample in batch})
        limits = [len(sample.ids) - sample.prompt_length + EXTRA_TOKENS for sample in batch]
        answers = decode_greedy(network, [s.ids[: s.prompt_length] for s in batch], stop_ids, limits)
        outcomes += [_outcome(tokenizer, sample, answer) for sample, answer in zip(batch, answers, strict=True)]
        report(f"decoded {len(outcomes)} of {len(samples)}")
    return outcomes


def _outcome(tokenizer: Tokenizer, sample: Sample, answer: list[int]) -> Outcome:
    truth = tokenizer.decode(sample.ids[sample.prompt_length : -1])
    has_ended = answer[-1] == sample.ids[-1]
    text = tokenizer.decode(answer[:-1] if has_ended else answer)
    similarity = difflib.SequenceMatcher(None, text, truth, autojunk=False).ratio()
    return Outcome(sample.kind, has_ended, has_ended and text == truth, similarity, text, truth)


def summary(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Figures by kind: cases, ended, exact (shares), similarity (mean)."""
    figures = {}
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        figures[kind] = {
            "cases": len(own),
            "ended": round(sum(o.has_ended for o in own) / len(own), 3),
            "exact": round(sum(o.is_exact for o in own) / len(own), 3),
            "similarity": round(sum(o.similarity for o in own) / len(own), 3),
        }
    return figures
