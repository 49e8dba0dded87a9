"""Drafters: what they guess, and that an edit's place in the old text survives changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model_runtime.diffusion.drafts import CanvasDrafter, NgramDrafter


def test_ngram_continues_as_before() -> None:
    drafter = NgramDrafter([1, 2, 3, 4, 5, 9, 2, 3])
    assert drafter.draft(3) == [4, 5, 9]


def test_ngram_prefers_the_longest_match() -> None:
    drafter = NgramDrafter([7, 1, 2, 50, 8, 1, 2, 60, 7, 1, 2])
    assert drafter.draft(1) == [50]


def test_ngram_without_a_match_guesses_nothing() -> None:
    assert NgramDrafter([1, 2, 3]).draft(4) == []
    assert NgramDrafter([]).draft(4) == []


def test_ngram_sees_what_was_committed() -> None:
    drafter = NgramDrafter([])
    drafter.commit([5, 6, 7, 5, 6])
    assert drafter.draft(2) == [7, 5]


def accepted_share(old: list[int], new: list[int], num_positions: int = 8) -> float:
    """Share of the new tokens that were guessed right when decoding with perfect verification."""
    drafter, place, num_right = CanvasDrafter(old), 0, 0
    while place < len(new):
        draft = drafter.draft(num_positions)
        right = 0
        while right < len(draft) and place + right < len(new) and draft[right] == new[place + right]:
            right += 1
        num_right += right
        committed = new[place : place + right + 1]
        drafter.commit(committed)
        place += len(committed)
    return num_right / len(new)


OLD = list(range(100, 200))


def test_unchanged_text_is_guessed_whole() -> None:
    assert accepted_share(OLD, OLD) >= 0.88  # all but the model's own token behind each block


def test_place_survives_an_insertion() -> None:
    assert accepted_share(OLD, [*OLD[:50], 1, 2, 3, 4, 5, *OLD[50:]]) >= 0.75


def test_place_survives_a_deletion() -> None:
    assert accepted_share(OLD, OLD[:30] + OLD[45:]) >= 0.8


def test_place_survives_a_substitution() -> None:
    changed = [1 if i % 20 == 10 else token for i, token in enumerate(OLD)]
    assert accepted_share(OLD, changed) >= 0.75


@given(st.lists(st.integers(0, 6), max_size=60), st.lists(st.integers(0, 6), max_size=60))
def test_any_pair_of_texts_is_followed_without_failing(old: list[int], new: list[int]) -> None:
    drafter = CanvasDrafter(old, NgramDrafter(old))
    for token in new:
        draft = drafter.draft(5)
        assert len(draft) <= 5
        drafter.commit([token])
        assert 0 <= drafter.place <= len(old)
