"""What a step puts on the canvas: text that is there first, masks only where nothing else goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from model_runtime.api import SamplingParams
from model_runtime.diffusion.denoise import StepResult
from model_runtime.diffusion.drafts import CanvasDrafter, Drafter, NoDrafter
from model_runtime.diffusion.planner import DEFAULT_BLOCK, Plan, Planner
from model_runtime.diffusion.schedule import Acceptance, LatencyCurve, Pace

FLAT = LatencyCurve(((1, 5.0), (129, 5.5)))
"""Rows are nearly free: masks are bought wherever they are of any use."""


def _planner(drafter: Drafter, acceptance: Acceptance, *, mask: int | None = 7) -> Planner:
    model: Any = SimpleNamespace(
        mask_token_id=mask, acceptance=acceptance, pace=Pace(FLAT), switches=SimpleNamespace(schedule=True)
    )
    task: Any = SimpleNamespace(
        params=SamplingParams(), drafter=drafter, ms_left=lambda: None, state=SimpleNamespace(token_ids=[])
    )
    return Planner(model, task)


def _trusted(source: str) -> Acceptance:
    acceptance = Acceptance()
    for _ in range(60):
        acceptance.record(source, 8, 8)
    return acceptance


@pytest.mark.parametrize("length", [DEFAULT_BLOCK, DEFAULT_BLOCK + 1, 400])
def test_no_masks_behind_a_text_that_may_go_on(length: int) -> None:
    plan = _planner(CanvasDrafter(range(length)), _trusted("canvas")).plan(room=500)
    assert plan == Plan(list(range(DEFAULT_BLOCK)), 0, "canvas")


def test_masks_behind_a_text_that_ends() -> None:
    plan = _planner(CanvasDrafter(range(10)), _trusted("canvas")).plan(room=500)
    assert plan.canvas == list(range(10))
    assert plan.num_masks > 0
    assert _planner(CanvasDrafter(range(10)), _trusted("canvas"), mask=None).plan(room=500).num_masks == 0


def test_masks_alone_and_within_the_room() -> None:
    plan = _planner(NoDrafter(), Acceptance()).plan(room=3)
    assert plan.canvas == []
    assert 0 < plan.num_masks <= 3


def test_drafts_that_are_never_worth_checking_end_the_buying_of_masks() -> None:
    acceptance = Acceptance()
    planner = _planner(NoDrafter(), acceptance)
    before = acceptance.probability("denoiser")
    for number in range(40):
        plan = planner.plan(room=100)
        guesses = [1] * plan.num_masks
        planner.learn(plan, StepResult([5], [-0.1], 0, guesses, [0.0] * len(guesses), []), number)
    assert plan.canvas == []
    assert acceptance.probability("denoiser") < before / 4


def _after_a_wrong_guess(planner: Planner) -> Plan:
    """The next plan where a step's only guess was refused and its rows would go on with 8, 9."""
    planner.learn(Plan([1], 0, "ngram-2"), StepResult([5], [-0.1], 0, [8, 9], [0.9, 0.9], []), 1)
    return planner.plan(room=100)


def test_behind_a_wrong_guess_the_surer_of_masks_and_leftovers_is_taken() -> None:
    plan = _after_a_wrong_guess(_planner(NoDrafter(), Acceptance()))
    assert plan.canvas == [] and plan.num_masks > 0
    plan = _after_a_wrong_guess(_planner(NoDrafter(), _trusted("jacobi")))
    assert (plan.canvas, plan.source) == ([8, 9], "jacobi")
    plan = _after_a_wrong_guess(_planner(NoDrafter(), Acceptance(), mask=None))
    assert (plan.canvas, plan.source, plan.num_masks) == ([8, 9], "jacobi", 0)
