"""Stage 1, mask: a gated low-rank adapter that fills masked canvas rows, over a frozen base.

Loss: cross-entropy to the true token, plus distillation from the base's own distribution for the same token, which is
what verification will compare a draft with. On a CPU the adapter sits in the upper layers only; if a fixed set of
sequences repeats, the frozen lower layers and the clean rows are computed once (kept_rows.py).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.diffusion.noise import CanvasBlock, mask_block
from model_runtime.errors import CheckpointMismatch
from model_runtime.training.denoiser import Denoiser, Teacher, answer_losses
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.kept_rows import KeptRowStore, stack_kept
from model_runtime.training.loop import Trainer
from model_runtime.training.masked_blocks import Canvas, draw_blocks, lay_out
from model_runtime.training.objective import Sample
from model_runtime.training.runs import Report, RunLimits, resume, run_steps
from model_runtime.training.sequences import Sequences, draw_first_anchor

DRAFT_LENGTH = 7
"""Masked rows of the blocks that measure drafting."""
KEPT_FOLDER = "kept"


@dataclass(frozen=True, slots=True)
class DraftFigures:
    """What a draft is worth: tokens accepted behind the free one, and how often the first masked rows are right."""

    blocks: int
    extra_tokens: float
    first_row_agrees: float


def weighted_loss(logits: Tensor, canvas: Canvas, teacher: Teacher, config: DenoiserConfig) -> Tensor:
    """Mean loss of the asked rows, those deep in a block counting less, a scalar, nats."""
    losses = answer_losses(logits, canvas.answers, teacher, config.distillation)
    weights = config.depth_decay ** canvas.depths.float()
    return (losses * weights).sum() / weights.sum()


def mask_loss(denoiser: Denoiser, ids: Sequence[int], blocks: Sequence[CanvasBlock], config: DenoiserConfig) -> Tensor:
    """The loss of one sequence, a scalar."""
    canvas = lay_out([ids], [blocks]).to(denoiser.network.device)
    logits, teacher = denoiser(canvas)
    return weighted_loss(logits, canvas, teacher, config)


def draw_sequence(
    sequences: Sequences, number: int, config: DenoiserConfig, mask: int
) -> tuple[Sample, list[CanvasBlock]]:
    """Sequence `number` and its masked blocks."""
    sample, rng = sequences.sequence(number)
    first = draw_first_anchor(sample, rng)
    return sample, draw_blocks(sample.ids, first, config.blocks_per_sequence, mask, rng, config.shape)


@torch.no_grad()
def draft_figures(denoiser: Denoiser, samples: Sequence[Sample], per_sample: int, seed: int) -> DraftFigures:
    """Draft greedily behind random anchors and count the tokens the base itself, knowing all before them, agrees with.

    An extra token counts only while every one before it in its block counted: what lossless decoding would keep.
    """
    rng = random.Random(seed)
    extra = first = blocks_seen = 0
    for sample in samples:
        last = len(sample.ids) - 2 - DRAFT_LENGTH
        if last < sample.prompt_length - 1:
            continue
        anchors = [rng.randint(sample.prompt_length - 1, last) for _ in range(per_sample)]
        blocks = [mask_block(sample.ids, anchor, (True,) * DRAFT_LENGTH, denoiser.marks.mask) for anchor in anchors]
        canvas = lay_out([sample.ids], [blocks]).to(denoiser.network.device)
        logits, teacher = denoiser(canvas)
        agrees = (logits.argmax(-1) == teacher.ids[:, 0]).view(len(blocks), DRAFT_LENGTH)
        extra += int(agrees.long().cumprod(dim=1).sum())
        first += int(agrees[:, 0].sum())
        blocks_seen += len(blocks)
    if not blocks_seen:
        return DraftFigures(0, 0.0, 0.0)
    return DraftFigures(blocks_seen, extra / blocks_seen, first / blocks_seen)


def held_out_denoising_loss(denoiser: Denoiser, samples: Sequence[Sample], config: DenoiserConfig) -> float:
    """The stage's loss over fixed masked blocks of held-out samples; those without room are left out."""
    total, count = 0.0, 0
    with torch.no_grad():
        for index, sample in enumerate(samples):
            if len(sample.ids) - sample.prompt_length < 3:
                continue
            rng = random.Random(f"held-out:{index}")
            blocks = draw_blocks(sample.ids, sample.prompt_length - 1, 4, denoiser.marks.mask, rng, config.shape)
            total += float(mask_loss(denoiser, sample.ids, blocks, config))
            count += 1
    return total / max(count, 1)


def train_mask(
    denoiser: Denoiser,
    sequences: Sequences,
    held_out: Sequence[Sample],
    config: DenoiserConfig,
    folder: Path,
    limits: RunLimits,
    report: Report,
) -> Trainer:
    """Train until `config.steps`, a signal or the time limit; resumes from the folder's checkpoint if there is one."""
    if config.kept_sequences and config.first_layer == 0:
        raise CheckpointMismatch("nothing can be kept when the adapter starts at layer 0: give a first layer above it")
    trainer = Trainer(denoiser.trainable(), config)
    resume(trainer, folder, report)
    store = KeptRowStore(folder / KEPT_FOLDER, denoiser, config.healing) if config.kept_sequences else None

    def take_step() -> None:
        numbers = sequences.numbers(trainer.progress.step, config.sequences_per_step)
        drawn = {
            number: draw_sequence(sequences, number, config, denoiser.marks.mask)
            for number in (n % config.kept_sequences if config.kept_sequences else n for n in numbers)
        }
        canvas = lay_out([s.ids for s, _ in drawn.values()], [own for _, own in drawn.values()])
        canvas = canvas.to(denoiser.network.device)
        if store is None:
            logits, teacher = denoiser(canvas)
        else:
            kept = [store.rows(number, sample.ids, blocks) for number, (sample, blocks) in drawn.items()]
            states, caches, teacher = stack_kept(kept, canvas, config.first_layer)
            logits = denoiser.answers(states, caches, canvas)
        trainer.step(weighted_loss(logits, canvas, teacher, config))
        count_step(trainer, canvas, [sample for sample, _ in drawn.values()])

    measure = (lambda: held_out_denoising_loss(denoiser, held_out, config)) if held_out else None
    run_steps(trainer, take_step, measure, folder, limits, report)
    return trainer


def count_step(trainer: Trainer, canvas: Canvas, samples: Sequence[Sample]) -> None:
    """Book a step's work: clean and canvas rows, asked rows, sequences."""
    progress = trainer.progress
    progress.tokens += sum(len(sample.ids) for sample in samples) + canvas.tokens.numel()
    progress.targets += canvas.answers.numel()
    progress.samples += len(samples)
