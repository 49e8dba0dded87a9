"""Stage 2, edit: canvases with wrong tokens on them, every row asked, visible or not.

Wrong are deletions, insertions and replacements within a tenth of the canvas (diffusion/noise.py), or the denoiser's
own drafts where it had only masks to go by. No token is trusted because it is visible: the answer for each slot is the
right token, or the mark that says it does not belong there or that something is missing. The rest of the canvases are
masked as in stage 1, so that drafting is not forgotten. Cross-entropy on every row, unweighted: a proper score, so a
wrong visible token has to look wrong; what calibration is left to mend is one temperature.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.diffusion.noise import CanvasBlock, Marks, corrupt_block, draft_block, mask_block
from model_runtime.training.calibration import calibration_error, confidence_of, fit_temperature
from model_runtime.training.denoiser import Denoiser
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.loop import Trainer
from model_runtime.training.mask import count_step, held_out_denoising_loss, weighted_loss
from model_runtime.training.masked_blocks import draw_blocks, draw_place, lay_out
from model_runtime.training.objective import Sample
from model_runtime.training.runs import Report, RunLimits, resume, run_steps
from model_runtime.training.sequences import Sequences, draw_first_anchor

FIGURE_SIZE = 20
"""Slots of the canvases that measure mending: room for two edits."""


@dataclass(frozen=True, slots=True)
class EditFigures:
    """What the denoiser knows about visible tokens, over held-out corrupted canvases."""

    wrong_slots: int
    """Judged slots that hold a wrong visible token."""
    right_slots: int
    mended: float
    """Share of the wrong slots with the right answer (the token, or `delete`)."""
    disturbed: float
    """Share of the right slots that the denoiser would change."""
    confidence_gap: float
    """Mean probability of a right visible token, less that of a wrong one."""
    found_first: float
    """Share of the canvases with an error whose least likely visible token is an error."""
    calibration_error: float
    temperature: float
    calibration_error_after: float
    """With the probabilities taken at that temperature."""


def train_edit(
    denoiser: Denoiser,
    sequences: Sequences,
    held_out: Sequence[Sample],
    config: DenoiserConfig,
    folder: Path,
    limits: RunLimits,
    report: Report,
) -> Trainer:
    """Train until `config.steps`, a signal or the time limit; resumes from the folder's checkpoint if there is one."""
    trainer = Trainer(denoiser.trainable(), config)
    resume(trainer, folder, report)

    def take_step() -> None:
        numbers = sequences.numbers(trainer.progress.step, config.sequences_per_step)
        drawn = [sequences.sequence(number) for number in numbers]
        samples = [sample for sample, _ in drawn]
        blocks = draw_edit_blocks(denoiser, drawn, config)
        canvas = lay_out([sample.ids for sample in samples], blocks).to(denoiser.network.device)
        logits, teacher = denoiser(canvas)
        trainer.step(weighted_loss(logits, canvas, teacher, config))
        count_step(trainer, canvas, samples)

    measure = (lambda: held_out_denoising_loss(denoiser, held_out, config)) if held_out else None
    run_steps(trainer, take_step, measure, folder, limits, report)
    return trainer


def draw_edit_blocks(
    denoiser: Denoiser, drawn: Sequence[tuple[Sample, random.Random]], config: DenoiserConfig
) -> list[list[CanvasBlock]]:
    """Blocks of every sequence: masked, corrupted by edits, or filled with the denoiser's own drafts."""
    marks, blocks = denoiser.marks, []
    for sample, rng in drawn:
        first = draw_first_anchor(sample, rng)
        pool = [token for token in sample.ids if token not in (marks.mask, marks.delete, marks.insert)]
        own: list[CanvasBlock] = []
        for _ in range(config.blocks_per_sequence):
            if rng.random() >= config.edit_share:
                own += draw_blocks(sample.ids, first, 1, marks.mask, rng, config.shape)
                continue
            anchor, size = draw_place(len(sample.ids), first, rng, config.shape)
            if rng.random() < config.draft_share:
                own.append(mask_block(sample.ids, anchor, (True,) * size, marks.mask))
            else:
                own.append(corrupt_block(sample.ids, anchor, size, marks, pool, rng))
        blocks.append(own)
    return _with_drafts(denoiser, [sample for sample, _ in drawn], blocks)


@torch.no_grad()
def _with_drafts(
    denoiser: Denoiser, samples: Sequence[Sample], blocks: Sequence[Sequence[CanvasBlock]]
) -> list[list[CanvasBlock]]:
    """The same blocks, those of masks alone replaced by what the denoiser drafts there.

    A canvas of masks alone is stage 1's question as well: half of them stay as they are.
    """
    canvas = lay_out([sample.ids for sample in samples], blocks).to(denoiser.network.device)
    logits, _ = denoiser(canvas)
    drafts = iter(logits.argmax(-1).tolist())
    result = []
    for sample, own in zip(samples, blocks, strict=True):
        changed = []
        for index, block in enumerate(own):
            answers = [next(drafts) for answer in block.answers if answer >= 0]
            if index % 2 == 0 and all(token == denoiser.marks.mask for token in block.shown):
                # Slot 0 is the base's own: the token it commits. The others are what the rows before them drafted.
                changed.append(draft_block(sample.ids, block.anchor, [sample.ids[block.anchor + 1], *answers[:-1]]))
            else:
                changed.append(block)
        result.append(changed)
    return result


@torch.no_grad()
def edit_figures(denoiser: Denoiser, samples: Sequence[Sample], per_sample: int, seed: int) -> EditFigures:
    """Corrupt held-out text and ask about every slot; samples without room are left out."""
    rng = random.Random(seed)
    rows: list[_Judged] = []
    for sample in samples:
        last = len(sample.ids) - 2 - FIGURE_SIZE
        if last < sample.prompt_length - 1:
            continue
        blocks = [
            corrupt_block(
                sample.ids, rng.randint(sample.prompt_length - 1, last), FIGURE_SIZE, denoiser.marks, sample.ids, rng
            )
            for _ in range(per_sample)
        ]
        canvas = lay_out([sample.ids], [blocks]).to(denoiser.network.device)
        logits, _ = denoiser(canvas)
        rows.append(_Judged.of(blocks, logits.cpu(), canvas.answers.cpu(), denoiser.marks))
    return _figures(rows)


@dataclass(frozen=True, slots=True)
class _Judged:
    """Visible slots (N of them) with the logits that judge them."""

    logits: Tensor  # (N, vocabulary)
    answers: Tensor  # (N,)
    shown: Tensor  # (N,)
    block: Tensor  # (N,) number of the block

    @classmethod
    def of(cls, blocks: Sequence[CanvasBlock], logits: Tensor, answers: Tensor, marks: Marks) -> _Judged:
        shown = [token for block in blocks for token in (*block.shown[1:], marks.mask)]
        number = [index for index, block in enumerate(blocks) for _ in block.shown]
        is_visible = torch.tensor([token != marks.mask for token in shown])
        # `insert` says something about the place in front of the slot, not about its token.
        judged = is_visible & (answers != marks.insert)
        shown_ids, block = torch.tensor(shown), torch.tensor(number)
        return cls(logits[judged], answers[judged], shown_ids[judged], block[judged])


def _figures(rows: Sequence[_Judged]) -> EditFigures:
    if not rows:
        return EditFigures(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    logits, answers, shown = (
        torch.cat([getattr(row, name) for row in rows]) for name in ("logits", "answers", "shown")
    )
    of_shown = logits.softmax(-1).gather(1, shown[:, None])[:, 0]
    is_wrong = shown != answers
    best, confidence = confidence_of(logits)
    temperature = fit_temperature(logits, answers)
    _, confidence_after = confidence_of(logits, temperature)
    found = []
    for row in rows:
        likely = row.logits.softmax(-1).gather(1, row.shown[:, None])[:, 0]
        wrong = row.shown != row.answers
        for number in set(row.block.tolist()):
            own = row.block == number
            if wrong[own].any():
                found.append(bool(wrong[own][likely[own].argmin()]))
    return EditFigures(
        wrong_slots=int(is_wrong.sum()),
        right_slots=int((~is_wrong).sum()),
        mended=_mean((best == answers)[is_wrong]),
        disturbed=_mean((best != answers)[~is_wrong]),
        confidence_gap=_mean(of_shown[~is_wrong]) - _mean(of_shown[is_wrong]),
        found_first=sum(found) / max(1, len(found)),
        calibration_error=calibration_error(confidence, best == answers),
        temperature=temperature,
        calibration_error_after=calibration_error(confidence_after, best == answers),
    )


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if values.numel() else 0.0
