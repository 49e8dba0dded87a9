"""Stage 3, order: denoise many ways, keep the likeliest, learn to go that way.

Behind each anchor several trajectories are sampled from the denoiser itself. The base, reading causally, says how
likely each finished block is; a block that breaks the brackets of the text loses to one that does not. The best is
distilled: at every state it went through, the slots still masked are to be answered as it ended. Constrained-order
training: Seed Diffusion (Song et al. 2025, arXiv 2508.02193); here with the exact likelihood of a causal base.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from model_runtime.diffusion.noise import NOT_ASKED, CanvasBlock
from model_runtime.training.denoiser import CleanPass, Denoiser, Teacher
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.loop import Trainer
from model_runtime.training.mask import count_step, held_out_denoising_loss, weighted_loss
from model_runtime.training.masked_blocks import draw_place, lay_out
from model_runtime.training.objective import Sample
from model_runtime.training.runs import Report, RunLimits, resume, run_steps
from model_runtime.training.sequences import Sequences, draw_first_anchor
from model_runtime.training.trajectories import Pace, Trajectory, base_log_probs, denoise_blocks

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
"""A trajectory's pace is one of these: quick and slow ways to the same block compete."""

MIN_ROOM = 4
"""Slots a block must have: in fewer there is no order to speak of."""

BreaksSyntax = Callable[[Sequence[int], Sequence[int]], bool]
"""Told a context's tokens and a block's; True when the block leaves the text with new bracket errors."""


def train_order(
    denoiser: Denoiser,
    sequences: Sequences,
    held_out: Sequence[Sample],
    config: DenoiserConfig,
    breaks_syntax: BreaksSyntax,
    folder: Path,
    limits: RunLimits,
    report: Report,
) -> Trainer:
    """Train until `config.steps`, a signal or the time limit; resumes from the folder's checkpoint if there is one."""
    trainer = Trainer(denoiser.trainable(), config)
    resume(trainer, folder, report)

    def take_step() -> None:
        number = trainer.progress.step
        sample, rng = sequences.sequence(number)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        clean = denoiser.clean_pass(torch.tensor([sample.ids], device=denoiser.network.device))
        groups = sample_groups(denoiser, sample, clean, config, rng, generator)
        best = [best_of(denoiser, sample.ids, clean, group, breaks_syntax) for group in groups]
        blocks = [block for trajectory in best for block in steps_to_learn(trajectory, denoiser.marks.mask)]
        canvas = lay_out([sample.ids], [blocks]).to(denoiser.network.device)
        logits = denoiser.answers(denoiser.lower_states(clean.caches, canvas), clean.caches, canvas)
        trainer.step(weighted_loss(logits, canvas, no_teacher(len(canvas.answers), canvas.ids.device), config))
        count_step(trainer, canvas, [sample])

    measure = (lambda: held_out_denoising_loss(denoiser, held_out, config)) if held_out else None
    run_steps(trainer, take_step, measure, folder, limits, report)
    return trainer


def sample_groups(
    denoiser: Denoiser,
    sample: Sample,
    clean: CleanPass,
    config: DenoiserConfig,
    rng: random.Random,
    generator: torch.Generator,
) -> list[list[Trajectory]]:
    """`config.trajectories` ways through each of `config.blocks_per_sequence` blocks."""
    first = draw_first_anchor(sample, rng)
    places = [
        draw_place(len(sample.ids), first, rng, config.shape, min_room=MIN_ROOM)
        for _ in range(config.blocks_per_sequence)
    ]
    k = config.trajectories
    repeated = [place for place in places for _ in range(k)]
    paces = [Pace(threshold=rng.choice(THRESHOLDS)) for _ in repeated]
    found = denoise_blocks(denoiser, sample.ids, clean, repeated, paces, config.temperature, generator)
    return [found[start : start + k] for start in range(0, len(found), k)]


def best_of(
    denoiser: Denoiser,
    ids: Sequence[int],
    clean: CleanPass,
    group: Sequence[Trajectory],
    breaks_syntax: BreaksSyntax,
) -> Trajectory:
    """The likeliest to the base among those that keep the brackets; of equals the one with the fewest steps."""
    scores = [float(log_probs.sum()) for log_probs, _ in base_log_probs(denoiser, ids, clean, group)]

    def rank(index: int) -> tuple[bool, float, int]:
        trajectory = group[index]
        keeps = not breaks_syntax(ids[: trajectory.anchor + 1], trajectory.tokens)
        return keeps, round(scores[index], 4), -trajectory.num_steps

    return group[max(range(len(group)), key=rank)]


def steps_to_learn(trajectory: Trajectory, mask: int) -> list[CanvasBlock]:
    """Every state before the last as a canvas: slots still masked are asked for what the trajectory ended with."""
    end = trajectory.tokens
    blocks = []
    for state in trajectory.states[:-1]:
        behind = zip(state[1:], end[1:], strict=True)
        answers = (*(token if shown == mask else NOT_ASKED for shown, token in behind), NOT_ASKED)
        if any(answer != NOT_ASKED for answer in answers):
            blocks.append(CanvasBlock(trajectory.anchor, state, answers, (-1,) * len(state)))
    return blocks


def no_teacher(num_rows: int, device: torch.device) -> Teacher:
    """A teacher with nothing to say: the answers are the denoiser's own."""
    empty = torch.zeros(num_rows, 1, device=device)
    return Teacher(empty.long(), empty, torch.zeros(num_rows, dtype=torch.bool, device=device))
