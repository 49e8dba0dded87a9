"""Stage edit: every row asked, what may be seen, where gradient goes, what figures and calibration say."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_runtime.diffusion.noise import CanvasBlock, corrupt_block
from model_runtime.training.calibration import calibration_error, confidence_of, fit_temperature
from model_runtime.training.denoiser import Denoiser
from model_runtime.training.denoiser_start import begin_from, read_start
from model_runtime.training.edit import draw_edit_blocks, edit_figures, train_edit
from model_runtime.training.export import export_run
from model_runtime.training.mask import mask_loss
from model_runtime.training.masked_blocks import BlockShape, lay_out
from model_runtime.training.objective import Sample
from model_runtime.training.runs import RunLimits
from tests.training.denoising import CONFIG, Repeating, make_denoiser

LONG = tuple(range(20, 60))
EDIT = replace(CONFIG, stage="edit", shape=BlockShape(10, 20), edit_share=1.0, draft_share=0.0)


@pytest.fixture
def denoiser(tiny_base: Path) -> Denoiser:
    denoiser = make_denoiser(tiny_base)
    denoiser.attach_edit_head()
    return denoiser


def logits(denoiser: Denoiser, ids: tuple[int, ...], block: CanvasBlock) -> torch.Tensor:
    with torch.no_grad():
        found, _ = denoiser(lay_out([ids], [[block]]))
    assert isinstance(found, torch.Tensor)
    return found


def find_block(denoiser: Denoiser, wanted: int) -> CanvasBlock:
    """A corrupted block one of whose rows has the wanted answer."""
    rng = random.Random(0)
    while True:
        block = corrupt_block(LONG, 5, 20, denoiser.marks, (70, 71, 72), rng)
        if wanted in block.answers:
            return block


def test_tokens_that_are_not_shown_do_not_leak(denoiser: Denoiser) -> None:
    block = find_block(denoiser, denoiser.marks.insert)
    missing = next(i for i in range(6, 26) if LONG[i] not in block.shown)
    first = logits(denoiser, LONG, block)
    for hidden in (missing, 27, 39):
        changed = (*LONG[:hidden], 99, *LONG[hidden + 1 :])
        assert torch.equal(logits(denoiser, changed, block), first), hidden
    shown = replace(block, shown=(*block.shown[:3], 99, *block.shown[4:]))
    assert not torch.allclose(logits(denoiser, LONG, shown), first), "visible tokens are seen by every row"


def test_gradient_reaches_adapter_mask_embedding_and_edit_head_only(denoiser: Denoiser) -> None:
    blocks = [find_block(denoiser, mark) for mark in (denoiser.marks.insert, denoiser.marks.delete)]
    before = {name: buffer.clone() for name, buffer in denoiser.named_buffers()}
    mask_loss(denoiser, LONG, blocks, EDIT).backward()
    assert {id(p) for p in denoiser.parameters()} == {id(p) for p in denoiser.trainable().values()}
    assert denoiser.edit_head is not None and denoiser.edit_head.grad is not None
    assert (denoiser.edit_head.grad.abs().sum(1) > 0).all()
    assert all(torch.equal(buffer, before[name]) for name, buffer in denoiser.named_buffers())


def test_marks_have_no_teacher_and_tokens_do(denoiser: Denoiser) -> None:
    block = find_block(denoiser, denoiser.marks.delete)
    with torch.no_grad():
        _, teacher = denoiser(lay_out([LONG], [[block]]))
    assert teacher.has_row.tolist() == [row >= 0 for row in block.clean_rows]


def test_own_drafts_are_what_the_denoiser_drafts(denoiser: Denoiser) -> None:
    config = replace(EDIT, draft_share=1.0, blocks_per_sequence=6)
    sample = Sample(LONG, 5, "a")
    (blocks,) = draw_edit_blocks(denoiser, [(sample, random.Random(4))], config)
    mask = denoiser.marks.mask
    drafted = [block for block in blocks if mask not in block.shown]
    assert len(drafted) == 3, "every other one; the rest stays masks"
    for block in drafted:
        masks = replace(block, shown=(mask,) * block.size)
        answers = logits(denoiser, LONG, masks).argmax(-1).tolist()
        assert list(block.shown) == [LONG[block.anchor + 1], *answers[:-1]]
        assert list(block.answers) == list(LONG[block.anchor + 2 : block.anchor + 2 + block.size])


def test_training_teaches_to_find_what_is_wrong_and_survives_a_stop(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(EDIT, steps=40, rank=4, alpha=8.0, learning_rate=2e-2, edit_share=0.7, draft_share=0.3)
    sequences, sample = Repeating(Sample(LONG, 5, "a")), Sample(LONG, 5, "a")

    def run(folder: str, steps: int) -> tuple[Denoiser, list[float]]:
        own = make_denoiser(tiny_base, config, is_fresh=True)
        own.attach_edit_head()
        chosen = replace(config, steps=steps, warmup_steps=100) if folder != "whole" else config
        trainer = train_edit(own, sequences, [sample], chosen, tmp_path / folder, RunLimits(), lambda m: None)
        return own, trainer.progress.losses

    denoiser, _ = run("whole", 40)
    fresh = make_denoiser(tiny_base, config, is_fresh=True)
    fresh.attach_edit_head()
    before, after = (edit_figures(each, [sample], 12, seed=2) for each in (fresh, denoiser))
    assert before.wrong_slots == after.wrong_slots > 5
    assert after.mended > before.mended and after.disturbed < 0.8 * before.disturbed
    assert after.confidence_gap > before.confidence_gap
    assert after.calibration_error < before.calibration_error
    run("cut", 1)
    assert run("cut", 3)[1] == run("uncut", 3)[1]


def test_a_stage_begins_where_the_last_one_ended(tiny_base: Path, tmp_path: Path, denoiser: Denoiser) -> None:
    train_edit(denoiser, Repeating(Sample(LONG, 5, "a")), [], EDIT, tmp_path / "run", RunLimits(), lambda m: None)
    export_run(tmp_path / "run", tmp_path / "mask.safetensors", {"name": "tiny", "digest": "0" * 64})
    block = find_block(denoiser, denoiser.marks.delete)
    for path, tolerance in ((tmp_path / "run", 1e-5), (tmp_path / "mask.safetensors", 0.1)):
        start = read_start(path)
        assert (start.first_layer, start.rank, start.stages) == (0, 2, ("edit",))
        begun = make_denoiser(tiny_base, is_fresh=True)
        begin_from(begun, start)
        assert torch.allclose(logits(begun, LONG, block), logits(denoiser, LONG, block), atol=tolerance), path


def test_temperature_undoes_too_much_confidence() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(4000, 12, generator=generator) * 1.5
    answers = torch.multinomial(honest.softmax(-1), 1, generator=generator)[:, 0]
    loud = honest * 2.5
    assert fit_temperature(loud, answers) == pytest.approx(2.5, rel=0.1)
    best, confidence = confidence_of(loud)
    assert calibration_error(confidence, best == answers) > 0.15
    best, confidence = confidence_of(loud, 2.5)
    assert calibration_error(confidence, best == answers) < 0.04


def test_calibration_error_by_hand() -> None:
    confidence, is_right = torch.tensor([0.95, 0.95, 0.15, 0.15]), torch.tensor([True, False, False, False])
    assert calibration_error(confidence, is_right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.15)
    assert calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == 0
    assert math.isfinite(calibration_error(torch.ones(3), torch.ones(3, dtype=torch.bool)))
