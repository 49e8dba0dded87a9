"""Stage 4, on-policy: fewer steps for the same text, judged by the base.

Behind each anchor a group of trajectories is sampled from the denoiser as it is. A trajectory earns what the verifier
(the base, reading causally) would accept of it, and a bonus for covering ground: the mean edit distance between its
states, which grows as steps get fewer and is smoother than their number. The log-derivative trick moves the denoiser
towards what earned more than its group's mean; a distillation term on masked blocks keeps it near the base. Step
minimisation and the surrogate: Seed Diffusion (Song et al. 2025, arXiv 2508.02193); group baseline: Shao et al. 2024,
arXiv 2402.03300.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.diffusion.noise import NOT_ASKED, CanvasBlock
from model_runtime.training.denoiser import CleanPass, Denoiser
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.edit_distance import mean_pair_distance
from model_runtime.training.loop import Trainer
from model_runtime.training.mask import count_step, held_out_denoising_loss, mask_loss
from model_runtime.training.masked_blocks import draw_blocks, lay_out
from model_runtime.training.objective import Sample
from model_runtime.training.order import MIN_ROOM, BreaksSyntax, sample_groups
from model_runtime.training.runs import Report, RunLimits, resume, run_steps
from model_runtime.training.sequences import Sequences, draw_first_anchor
from model_runtime.training.trajectories import Pace, Trajectory, base_log_probs, denoise_blocks

GROUND_WEIGHT = 0.5
"""Of the edit-distance bonus, beside a verifier's value between 0 and 1."""
BROKEN_PENALTY = 0.5
KEEP_WEIGHT = 0.5
"""Of the distillation on masked blocks."""
STEP_COUNTS = (1, 2, 4, 8, 20)


@dataclass(frozen=True, slots=True)
class StepsPoint:
    """What blocks are worth that were denoised in so many steps."""

    steps: int
    accepted: float
    """Drafted slots a block that the base would commit before its first objection."""
    log_prob: float
    """Mean over the drafted slots, nats, by the base."""


def reward(trajectory: Trajectory, agrees: Tensor, *, is_broken: bool) -> float:
    """Value of one trajectory; `agrees` (size - 1,) says where the base would have written the same."""
    accepted = float(agrees.long().cumprod(0).sum()) / max(1, len(agrees))
    ground = mean_pair_distance(trajectory.states) / len(trajectory.tokens)
    return accepted + GROUND_WEIGHT * ground - BROKEN_PENALTY * is_broken


def advantages(rewards: Sequence[float]) -> list[float]:
    """Rewards less their mean, in units of their spread; zeros where all are equal."""
    mean = sum(rewards) / len(rewards)
    spread = (sum((each - mean) ** 2 for each in rewards) / len(rewards)) ** 0.5
    return [(each - mean) / spread if spread > 1e-6 else 0.0 for each in rewards]


def committed_steps(trajectory: Trajectory) -> list[CanvasBlock]:
    """Every state before the last as a canvas, asked only for what its step committed (slot 0 was the base's)."""
    blocks = []
    for before, after in zip(trajectory.states, trajectory.states[1:], strict=False):
        changed = zip(before[1:], after[1:], strict=True)
        answers = (*(new if new != old else NOT_ASKED for old, new in changed), NOT_ASKED)
        if any(answer != NOT_ASKED for answer in answers):
            blocks.append(CanvasBlock(trajectory.anchor, before, answers, (-1,) * len(before)))
    return blocks


def policy_loss(
    denoiser: Denoiser,
    ids: Sequence[int],
    clean: CleanPass,
    trajectories: Sequence[Trajectory],
    weights: Sequence[float],
    temperature: float,
) -> Tensor:
    """Minus the mean of weight x log probability over every slot that the trajectories committed, a scalar."""
    blocks, of_block = [], []
    for trajectory, weight in zip(trajectories, weights, strict=True):
        own = committed_steps(trajectory)
        blocks += own
        of_block += [weight] * len(own)
    canvas = lay_out([ids], [blocks]).to(denoiser.network.device)
    logits = denoiser.answers(denoiser.lower_states(clean.caches, canvas), clean.caches, canvas)
    log_probs = (logits / temperature).log_softmax(-1).gather(1, canvas.answers[:, None])[:, 0]
    counts = [sum(answer != NOT_ASKED for answer in block.answers) for block in blocks]
    row_weights = [weight for weight, count in zip(of_block, counts, strict=True) for _ in range(count)]
    return -(torch.tensor(row_weights, device=log_probs.device) * log_probs).mean()


def train_onpolicy(
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
        trajectories: list[Trajectory] = []
        weights: list[float] = []
        for group in sample_groups(denoiser, sample, clean, config, rng, generator):
            judged = base_log_probs(denoiser, sample.ids, clean, group)
            rewards = [
                reward(t, agrees, is_broken=breaks_syntax(sample.ids[: t.anchor + 1], t.tokens))
                for t, (_, agrees) in zip(group, judged, strict=True)
            ]
            trajectories += group
            weights += advantages(rewards)
        loss = policy_loss(denoiser, sample.ids, clean, trajectories, weights, config.temperature)
        first = draw_first_anchor(sample, rng)
        kept = draw_blocks(sample.ids, first, config.blocks_per_sequence, denoiser.marks.mask, rng, config.shape)
        trainer.step(loss + KEEP_WEIGHT * mask_loss(denoiser, sample.ids, kept, config))
        count_step(trainer, lay_out([sample.ids], [kept]), [sample])

    measure = (lambda: held_out_denoising_loss(denoiser, held_out, config)) if held_out else None
    run_steps(trainer, take_step, measure, folder, limits, report)
    return trainer


def steps_curve(denoiser: Denoiser, samples: Sequence[Sample], size: int) -> list[StepsPoint]:
    """Greedy blocks of `size` slots right behind held-out prompts, in 1, 2, 4, 8 and 20 steps."""
    points = []
    fitting = [sample for sample in samples if len(sample.ids) - sample.prompt_length >= MIN_ROOM]
    for count in STEP_COUNTS:
        accepted: list[float] = []
        log_probs: list[float] = []
        for sample in fitting:
            prompt = sample.ids[: sample.prompt_length]
            clean = denoiser.clean_pass(torch.tensor([prompt], device=denoiser.network.device))
            places, paces = [(len(prompt) - 1, size)], [Pace(num_steps=count)]
            found = denoise_blocks(denoiser, prompt, clean, places, paces, 0.0, torch.Generator())
            own, agrees = base_log_probs(denoiser, prompt, clean, found)[0]
            accepted.append(float(agrees.long().cumprod(0).sum()))
            log_probs += own.tolist()
        points.append(StepsPoint(count, sum(accepted) / max(1, len(accepted)), sum(log_probs) / max(1, len(log_probs))))
    return points
