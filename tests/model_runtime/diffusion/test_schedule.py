"""Choosing the block from the latency curve and the drafts' luck: pure numbers against a brute-force search."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.diffusion.schedule import (
    Acceptance,
    LatencyCurve,
    Pace,
    choose_block,
    choose_masks,
    expected_tokens,
    num_worth_checking,
)

FLAT = LatencyCurve.of({1: 10.0, 128: 10.0})
STEEP = LatencyCurve.of({1: 10.0, 128: 1280.0})
CPU = LatencyCurve.of({1: 46.0, 8: 60.0, 16: 88.0, 32: 144.0})


@pytest.mark.parametrize(("rows", "ms"), [(1, 46.0), (8, 60.0), (12, 74.0), (32, 144.0), (64, 256.0)])
def test_a_curve_is_straight_between_and_behind_its_points(rows: int, ms: float) -> None:
    assert CPU.ms(rows) == pytest.approx(ms)


def test_a_measured_dip_is_noise() -> None:
    assert LatencyCurve.of({8: 40.0, 1: 50.0}).ms(8) == 50.0
    assert LatencyCurve.of({4: 50.0}).ms(64) == 50.0


@pytest.mark.parametrize(("probability", "drafts"), [(0.0, 5), (0.5, 1), (0.5, 4), (0.9, 16), (1.0, 3)])
def test_expected_tokens_is_the_mean_of_many_trials(probability: float, drafts: int) -> None:
    rng = random.Random(3)
    total = 0
    for _ in range(20_000):
        accepted = 0
        while accepted < drafts and rng.random() < probability:
            accepted += 1
        total += accepted + 1
    assert expected_tokens(probability, drafts) == pytest.approx(total / 20_000, rel=0.03)


def test_free_rows_are_all_taken_and_dear_ones_are_not() -> None:
    assert choose_block(Pace(FLAT), 0.9, 64) == 64
    assert choose_block(Pace(STEEP), 0.9, 64) == 0
    assert 3 <= choose_block(Pace(CPU), 0.75, 64) <= 10
    assert choose_block(Pace(CPU), 0.97, 64) > choose_block(Pace(CPU), 0.75, 64)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 128), st.floats(0, 500), st.sampled_from([FLAT, STEEP, CPU]))
def test_a_block_and_its_masks_fit_their_limits_and_the_time_left(
    probability: float, chance: float, limit: int, ms_left: float, curve: LatencyCurve
) -> None:
    size = choose_block(Pace(curve), probability, limit, ms_left)
    assert 0 <= size <= limit
    assert size == 0 or curve.ms(1 + size) <= ms_left
    masks = choose_masks(Pace(curve), probability, chance, size, limit, ms_left)
    assert 0 <= masks <= limit
    assert masks == 0 or curve.ms(1 + size + masks) <= ms_left
    checked = num_worth_checking(Pace(curve), [probability] * limit, ms_left)
    assert checked == 0 or curve.ms(1 + checked) <= ms_left


def test_masks_are_bought_where_they_pay() -> None:
    def masks(probability: float, chance: float, curve: LatencyCurve = CPU, num_drafts: int = 0) -> int:
        return choose_masks(Pace(curve), probability, chance, num_drafts, 32)

    assert masks(0.8, 1.0, FLAT) == 32  # free rows
    assert masks(0.9, 1.0, STEEP) == 0  # a row as dear as a token
    assert 1 <= masks(0.6, 1.0) <= 8
    assert masks(0.02, 1.0) == 0
    assert masks(0.9, 1.0) > masks(0.6, 1.0) >= masks(0.6, 0.4)
    assert masks(0.6, 0.0, num_drafts=4) == 0  # behind guesses that will not hold


def test_what_stands_behind_an_uncertain_position_waits() -> None:
    sure, doubtful = [0.99] * 4, [0.01]
    assert num_worth_checking(Pace(CPU), sure + doubtful + sure) == 4
    assert num_worth_checking(Pace(CPU), doubtful + sure) == 0
    assert num_worth_checking(Pace(FLAT), []) == 0


def test_the_pace_follows_a_machine_that_gets_busy() -> None:
    pace = Pace(CPU)
    assert pace.ms(8) == 60.0
    pace.observe(8, 120.0)
    assert pace.ms(8) == pytest.approx(120.0)
    for _ in range(20):
        pace.observe(1, 46.0)
    assert pace.ms(16) == pytest.approx(88.0, rel=0.02)
    pace.observe(1, 1e6)
    assert pace.ms(1) < 46 * 4  # one hiccup is not believed


def test_reading_is_counted_in_forwards_of_the_prompt() -> None:
    pace = Pace(CPU, prompt_rows=64)
    assert pace.prompt_ms(0) == 0.0
    assert pace.prompt_ms(130) == pytest.approx(2 * CPU.ms(64) + CPU.ms(2))
    pace.observe_prompt(64, 200.0)
    pace.observe_prompt(10, 9999.0)  # the rest of a prompt says nothing about its whole forwards
    assert pace.prompt_ms(128) == 400.0
    assert Pace(FLAT, prompt_rows=1024).prompt_ms(1000) == 10.0


def test_acceptance_is_learned_by_source_and_old_luck_fades() -> None:
    acceptance = Acceptance()
    start = acceptance.probability("ngram-2")
    for _ in range(50):
        acceptance.record("ngram-2", 4, 4)
    assert acceptance.probability("ngram-2") > 0.9 > start
    assert acceptance.probability("ngram-3") == Acceptance().probability("ngram-3")
    for _ in range(80):
        acceptance.record("ngram-2", 4, 0)
    assert acceptance.probability("ngram-2") < 0.15
    acceptance.record("ngram-2", 0, 0)


def test_a_source_that_was_given_up_gets_another_try() -> None:
    acceptance = Acceptance()
    for _ in range(100):
        acceptance.record("denoiser", 4, 0)
    assert choose_masks(Pace(CPU), acceptance.probability("denoiser"), 1.0, 0, 32) == 0
    for _ in range(80):
        acceptance.relax()
    assert acceptance.probability("denoiser") == pytest.approx(Acceptance().probability("denoiser"), abs=0.05)
    assert choose_masks(Pace(CPU), acceptance.probability("denoiser"), 1.0, 0, 32) > 0


def test_only_the_first_wrong_draft_was_looked_at() -> None:
    one, long = Acceptance(), Acceptance()
    one.record("warm", 1, 0)
    long.record("warm", 60, 0)
    assert one.probability("warm") == long.probability("warm")
