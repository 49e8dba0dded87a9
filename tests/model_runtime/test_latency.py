"""The latency curve on disk: written only by a quiet machine, read back, damaged files count as absent."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_runtime.config import RuntimeConfig
from model_runtime.families.config import read_family_config
from model_runtime.families.table import family_by_name
from model_runtime.latency import is_steady, measured_ms_per_byte, read_curve, write_curve
from model_runtime.memory import forward_bytes
from model_runtime.runtime import Runtime
from tests.support.tiny_model import write_tiny_checkpoint

PUBLISHED = Path(__file__).parents[1] / "families" / "data"


@pytest.mark.parametrize(
    ("times", "steady"),
    [
        ({1: [46.0, 47.0], 8: [60.0, 88.0]}, True),
        ({1: [46.0, 47.0], 8: [60.0, 91.0]}, False),
        ({1: [1340.0, 58.0], 8: [87.0, 88.0]}, False),
        ({1: [46.0], 8: [60.0]}, False),
        ({}, True),
    ],
)
def test_repeats_that_disagree_are_not_kept(times: dict[int, list[float]], steady: bool) -> None:
    assert is_steady(times) is steady


@pytest.mark.parametrize(("repeats", "kept"), [((1.1, 1.0), True), ((1.0, 9.0), False)])
def test_a_busy_machine_leaves_no_curve(
    repeats: tuple[float, float], kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime.load(RuntimeConfig(model=str(write_tiny_checkpoint(tmp_path / "tiny")), device="cpu"))
    runtime._curve_file = tmp_path / "latency" / "curve.json"
    asked: list[int] = []

    def time_forward(ids: torch.Tensor) -> float:
        asked.append(len(ids))
        return len(ids) * (500.0, *repeats)[asked.count(len(ids)) - 1]  # the first one warms up

    monkeypatch.setattr(runtime, "_time_forward", time_forward)
    curve = runtime.latency_curve([1, 8, 16], context=8, repeats=2)
    assert asked == [1, 8, 16] * 3, "what disturbs for a while disturbs all alike"
    assert curve == {count: count * sum(repeats) / 2 for count in (1, 8, 16)}
    assert runtime._model.pace.curve.points == ((1, 1.0), (8, 8.0), (16, 16.0)), "this session goes by it in any case"
    assert runtime._curve_file.is_file() is kept
    runtime.close()


def test_the_newest_curve_foretells_other_models(tmp_path: Path) -> None:
    assert measured_ms_per_byte(tmp_path) is None
    write_curve(tmp_path / "latency" / "old.json", {1: 90.0}, weight_bytes=1000)
    write_curve(tmp_path / "latency" / "new.json", {1: 50.0, 8: 60.0}, weight_bytes=1000)
    os.utime(tmp_path / "latency" / "old.json", (1, 1))
    assert measured_ms_per_byte(tmp_path) == pytest.approx(0.05)
    (tmp_path / "latency" / "new.json").write_text('{"ms": {"1": 50.0}}', encoding="utf-8")  # as written before
    assert measured_ms_per_byte(tmp_path) == pytest.approx(0.09)


def test_a_mixture_reads_only_the_experts_it_chooses() -> None:
    raw = json.loads((PUBLISHED / "llada2" / "config.json").read_text(encoding="utf-8"))
    family = family_by_name("llada2")
    assert family is not None
    config = read_family_config(raw, family)
    assert config.experts is not None
    every = replace(config, experts=replace(config.experts, num_chosen=config.experts.num_experts))
    assert forward_bytes(config, "int8") < forward_bytes(every, "int8")
    assert forward_bytes(config, "bfloat16") == 2 * forward_bytes(config, "int8")


def test_round_trip_and_damage(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "curve.json"
    assert read_curve(file) is None
    write_curve(file, {1: 46.0, 8: 60.0})
    curve = read_curve(file)
    assert curve is not None and curve.ms(8) == 60.0
    for damage in ("", "{}", '{"ms": {"1": -3}}', '{"ms": {"x": 1}}', '{"ms": []}'):
        file.write_text(damage, encoding="utf-8")
        assert read_curve(file) is None, damage
