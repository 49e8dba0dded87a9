"""What stands on a canvas: the edit-distance bound, what rows are asked, and that answers lead back to clean text."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from model_runtime.diffusion.noise import (
    MAX_EDIT_SHARE,
    NOT_ASKED,
    Marks,
    apply_answers,
    corrupt_block,
    draft_block,
    mask_block,
)
from model_runtime.training.edit_distance import edit_distance

MARKS = Marks(mask=900, delete=901, insert=902)
POOL = tuple(range(500, 540))


@given(size=st.integers(1, 100), before=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_corruption_stays_within_a_tenth_and_answers_mend_it(size: int, before: int, seed: int) -> None:
    ids = tuple(range(before + size + 1))
    anchor = before - 1
    clean = ids[anchor + 1 : anchor + 1 + size]
    block = corrupt_block(ids, anchor, size, MARKS, POOL, random.Random(seed))
    assert edit_distance(block.shown, clean) <= int(size * MAX_EDIT_SHARE)
    assert NOT_ASKED not in block.answers, "every row is asked"
    assert len(block.answers) == len(block.clean_rows) == block.size
    for answer, row in zip(block.answers, block.clean_rows, strict=True):
        assert ids[row + 1] == answer if row >= 0 else answer in (MARKS.delete, MARKS.insert)
    mended = apply_answers(block.shown, [clean[0], *block.answers[:-1]], MARKS)
    behind = block.answers[-1]
    assert behind == ids[anchor + 1 + len(mended)], "the last row answers for the slot behind the canvas"
    wrong = [i for i, token in enumerate(mended) if token != clean[i]]
    # What followed a gap was not judged in this step: it may still be wrong, right behind the new mask.
    for i in wrong:
        assert mended[i] == MARKS.mask or mended[i - 1] == MARKS.mask
    again = [MARKS.insert in block.answers, bool(wrong)]
    assert again in ([False, False], [True, True])


def test_every_kind_of_edit_occurs_and_slot_0_is_left_alone() -> None:
    ids, rng = tuple(range(100)), random.Random(0)
    blocks = [corrupt_block(ids, 10, 60, MARKS, POOL, rng) for _ in range(200)]
    answers = {answer for block in blocks for answer in block.answers}
    assert {MARKS.delete, MARKS.insert} < answers
    assert all(block.shown[0] == 11 for block in blocks)
    assert any(MARKS.mask in block.shown for block in blocks)
    replaced = sum(
        shown in POOL and answer < 100
        for block in blocks
        for shown, answer in zip(block.shown[1:], block.answers, strict=False)
    )
    assert replaced > 50
    assert any(block.shown == ids[11:71] for block in blocks), "a clean canvas must look right too"


def test_a_block_of_masks_is_asked_everywhere() -> None:
    block = mask_block((1, 2, 3, 4, 5), 0, (True, True, True), 900)
    assert (block.shown, block.answers, block.clean_rows) == ((900,) * 3, (3, 4, 5), (1, 2, 3))


def test_own_drafts_are_asked_for_the_clean_text() -> None:
    block = draft_block((1, 2, 3, 4, 5), 0, (2, 70, 71))
    assert (block.shown, block.answers, block.clean_rows) == ((2, 70, 71), (3, 4, 5), (1, 2, 3))
    assert apply_answers(block.shown, [2, *block.answers[:-1]], MARKS) == [2, 3, 4]


def test_answers_delete_and_insert() -> None:
    assert apply_answers([1, 2, 3], [1, MARKS.delete, MARKS.insert], MARKS) == [1, MARKS.mask, 3]
    assert apply_answers([], [], MARKS) == []
