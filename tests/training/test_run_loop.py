"""The loop that every stage uses: time limits, and steps that fit them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from model_runtime.training import runs
from model_runtime.training.config import TrainConfig
from model_runtime.training.loop import Trainer, learning_rate
from model_runtime.training.runs import CHECKPOINT, RunLimits, resume, run_steps

CONFIG = TrainConfig(steps=1000, warmup_steps=1, learning_rate=1.0)


class Clock:
    """A second passes in every step, and at no other time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def run(folder: Path, limits: RunLimits, clock: Clock) -> Trainer:
    weight = nn.Parameter(torch.ones(2))
    trainer = Trainer({"weight": weight}, CONFIG)
    resume(trainer, folder, lambda m: None)

    def take_step() -> None:
        clock.now += 1.0
        trainer.step((weight**2).sum())

    run_steps(trainer, take_step, lambda: float(weight.detach().sum()), folder, limits, lambda m: None)
    return trainer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runs, "time", clock)
    return clock


def test_a_run_without_time_stops_with_a_checkpoint(tmp_path: Path, clock: Clock) -> None:
    trainer = run(tmp_path, RunLimits(max_minutes=0.5), clock)
    assert 30 <= trainer.progress.step <= 32 and trainer.config.steps == 1000
    assert run(tmp_path, RunLimits(max_minutes=0.5), clock).progress.step == 2 * trainer.progress.step
    assert [step for step, _ in trainer.progress.held_out] == [0]


def test_steps_are_fitted_to_the_time_so_that_the_rate_comes_down(tmp_path: Path, clock: Clock) -> None:
    trainer = run(tmp_path, RunLimits(max_minutes=1.0, fits_steps=True), clock)
    assert trainer.progress.step == trainer.config.steps == 57, "95 % of a minute at a second a step"
    assert learning_rate(trainer.progress.step - 1, trainer.config) == pytest.approx(CONFIG.final_share)
    assert trainer.progress.held_out[-1][0] == 57, "measured at its end"
    again = Trainer({"weight": nn.Parameter(torch.ones(2))}, replace(CONFIG, steps=80))
    again.load(tmp_path / CHECKPOINT)
    assert again.progress.step == 57


def test_enough_time_leaves_the_steps_alone(tmp_path: Path, clock: Clock) -> None:
    assert run(tmp_path, RunLimits(max_minutes=100.0, fits_steps=True), clock).progress.step == 1000
