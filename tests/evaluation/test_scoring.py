from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.evaluation.scoring import (
    edit_similarity,
    kept_characters,
    levenshtein,
    paired_p_value,
    percentile,
    quality_under_parallelism,
    wilson_interval,
)


def test_wilson_interval_matches_published_values() -> None:
    # Wilson 95 % for 5 of 10 and 0 of 10, from the formula's standard tables.
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_interval_holds_the_share(passed: int, total: int) -> None:
    passed = min(passed, total)
    low, high = wilson_interval(passed, total)
    assert 0.0 <= low <= passed / total + 1e-12
    assert passed / total - 1e-12 <= high <= 1.0


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("a🙂c", "abc", 1)],
)
def test_levenshtein(first: str, second: str, distance: int) -> None:
    assert levenshtein(first, second) == distance == levenshtein(second, first)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_levenshtein_is_a_distance(a: str, b: str, c: str) -> None:
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)


def test_edit_similarity() -> None:
    assert edit_similarity("", "") == 1.0
    assert edit_similarity("abcd", "abcx") == 0.75
    assert edit_similarity("abc", "") == 0.0


def test_kept_characters_counts_what_survives_in_order() -> None:
    assert kept_characters("range(10)", "range(len(x))") == len("range(") + len(")")
    assert kept_characters("abc", "abc") == 3
    assert kept_characters("abc", "") == 0


def test_paired_p_value_is_the_sign_test() -> None:
    assert paired_p_value(0, 0) == 1.0
    assert paired_p_value(0, 5) == pytest.approx(2 / 32)
    assert paired_p_value(3, 3) == 1.0
    assert paired_p_value(1, 9) == pytest.approx(2 * 11 / 1024)


def test_quality_under_parallelism_of_a_sequential_decoder_is_its_quality() -> None:
    assert quality_under_parallelism([(1.0, 60.0)]) == pytest.approx(60.0)
    assert quality_under_parallelism([]) == 0.0
    assert quality_under_parallelism([(1.0, 0.0)]) == 0.0


def test_quality_under_parallelism_rewards_speed_without_loss_and_punishes_loss() -> None:
    lossless = quality_under_parallelism([(1.0, 60.0), (3.0, 60.0)])
    lossy = quality_under_parallelism([(1.0, 60.0), (3.0, 56.0)])
    assert lossless == pytest.approx(180.0)
    weighted = 56 * math.exp(-3 * (1 - 56 / 60))
    assert lossy == pytest.approx(60 + 2 * (60 + weighted) / 2)
    # More than five points lost: the point counts for nothing.
    assert quality_under_parallelism([(1.0, 60.0), (9.0, 50.0)]) == pytest.approx(60.0)


def test_percentile() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile([1, 2, 3, 4], 0.95) == pytest.approx(3.85)
