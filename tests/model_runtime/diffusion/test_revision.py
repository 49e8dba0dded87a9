"""Editing canvas tokens: two thresholds, and a position that goes back and forth is frozen."""

from __future__ import annotations

from model_runtime.diffusion.revision import Revision


def test_a_guess_gives_way_only_to_a_sure_choice() -> None:
    revision = Revision(0.6)
    assert revision.revise(5, [1, 2, 3], [1, 9, 9], [0.9, 0.7, 0.5]) == [1, 9, 3]


def test_choices_behind_the_last_guess_are_taken() -> None:
    assert Revision(0.6).revise(0, [1], [1, 7], [0.9, 0.1]) == [1, 7]
    assert Revision(0.6).revise(0, [], [], []) == []


def test_a_position_that_goes_back_is_frozen() -> None:
    revision = Revision(0.5)
    canvas, changes = [4], 0
    for step in range(20):
        choice = 5 if step % 2 == 0 else 4  # what a parallel step may do for ever
        new = revision.revise(3, canvas, [choice], [0.9])
        changes += new != canvas
        canvas = new
    assert changes == 1


def test_a_frozen_position_may_be_left_behind_and_others_still_change() -> None:
    revision = Revision(0.5)
    revision.revise(3, [4, 1], [5, 1], [0.9, 0.9])
    revision.revise(3, [5, 1], [4, 1], [0.9, 0.9])  # position 3 is frozen now
    assert revision.revise(3, [5, 1], [6, 2], [0.9, 0.9]) == [5, 2]
    assert revision.revise(4, [2], [1], [0.9]) == [2]  # position 4 held 1 before
    assert revision.revise(9, [3], [8], [0.9]) == [8]


def test_it_forgets_what_is_committed() -> None:
    revision = Revision(0.5)
    for position in range(1000):
        revision.revise(position, [1, 2], [3, 4], [0.9, 0.9])
    assert len(revision._held) <= 2
