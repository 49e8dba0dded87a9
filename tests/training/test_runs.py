"""Runs: learning, stopping, resuming exactly, exporting, merging."""

from __future__ import annotations

import json
import os
import signal
import xml.etree.ElementTree
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from model_runtime.adapters import merge_into, merged_weight, read_adapter
from model_runtime.checkpoint import open_checkpoint
from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing, CheckpointUnsafe
from model_runtime.training.__main__ import main
from model_runtime.training.config import TrainConfig
from model_runtime.training.curve import curve_svg
from model_runtime.training.data.fim import ContextWidths
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.data.shards import MANIFEST, write_shards
from model_runtime.training.evaluate import held_out_samples
from model_runtime.training.export import export_run, quantise_rows, read_run, write_adapter
from model_runtime.training.heal import (
    heal,
    held_out_loss,
    load_network,
    prepare_network,
)
from model_runtime.training.loop import Trainer, learning_rate
from model_runtime.training.network import adapter_parameters
from model_runtime.training.objective import Sample
from model_runtime.training.runs import CHECKPOINT, RunLimits
from model_runtime.training.samples import Mixture, SampleMaker, SampleStream

CONFIG = TrainConfig(
    steps=6,
    first_layer=1,
    rank=2,
    alpha=4.0,
    precision="float32",
    batch_tokens=200,
    learning_rate=5e-3,
    warmup_steps=2,
    mixture=Mixture(widths=ContextWidths(max_prefix=40, max_suffix=20)),
)
BASE = {"name": "tiny", "digest": "0" * 64}


class Runner:
    """Starts runs on the tiny base."""

    def __init__(self, base: Path, sources: list[SourceFile], maker: SampleMaker) -> None:
        self.base = base
        self.stream = SampleStream(sources, maker, CONFIG.mixture, CONFIG.seed)
        self.held_out = [self.stream.batch(1000 + n, 150)[0] for n in range(3)]

    def run(
        self, folder: Path, config: TrainConfig = CONFIG, report: Callable[[str], None] = lambda message: None
    ) -> Trainer:
        network = prepare_network(self.base, config)
        return heal(network, self.stream, self.held_out, config, folder, RunLimits(), report)


@pytest.fixture
def runner(tiny_base: Path, sources: list[SourceFile], maker: SampleMaker) -> Runner:
    torch.manual_seed(0)
    return Runner(tiny_base, sources, maker)


def interrupt_after(step: int) -> Callable[[str], None]:
    """A report that sends SIGTERM to this process once that step is done."""

    def report(message: str) -> None:
        if message.startswith(f"step {step}/"):
            os.kill(os.getpid(), signal.SIGTERM)

    return report


def test_training_lowers_the_loss_on_what_it_sees(runner: Runner, tmp_path: Path) -> None:
    batch = runner.stream.batch(0, 200)
    config = replace(CONFIG, steps=30, learning_rate=2e-2)
    network = prepare_network(runner.base, config)
    before = held_out_loss(network, batch, config)["all"]

    class Repeating:
        def batch(self, number: int, max_tokens: int) -> list[Sample]:
            return batch

    trainer = heal(network, Repeating(), batch, config, tmp_path / "run", RunLimits(), lambda m: None)  # type: ignore[arg-type]
    assert held_out_loss(network, batch, config)["all"] < 0.7 * before
    assert trainer.progress.held_out[0] == [0, pytest.approx(before, abs=1e-3)]


def test_a_killed_run_resumes_to_the_same_weights(runner: Runner, tmp_path: Path) -> None:
    whole = runner.run(tmp_path / "whole")
    stopped = runner.run(tmp_path / "cut", report=interrupt_after(3))
    assert stopped.progress.step == 3
    resumed = runner.run(tmp_path / "cut")
    assert resumed.progress.step == CONFIG.steps
    assert resumed.progress.losses == whole.progress.losses
    for name, parameter in whole.parameters.items():
        assert torch.equal(parameter, resumed.parameters[name]), name


def test_a_checkpoint_of_another_configuration_is_refused(runner: Runner, tmp_path: Path) -> None:
    runner.run(tmp_path / "run", replace(CONFIG, steps=1))
    with pytest.raises(CheckpointMismatch, match="another configuration: seed"):
        runner.run(tmp_path / "run", replace(CONFIG, seed=9))
    assert runner.run(tmp_path / "run", replace(CONFIG, steps=2)).progress.step == 2, "a run may be prolonged"


def test_repeated_batches_train_alike_with_kept_states(runner: Runner, tmp_path: Path) -> None:
    """Two epochs of three batches, the second over kept states, equal a run that computes them anew after a stop."""
    config = replace(CONFIG, epoch_steps=3)
    kept = runner.run(tmp_path / "kept", config)
    runner.run(tmp_path / "anew", config, report=interrupt_after(3))
    assert runner.run(tmp_path / "anew", config).progress.losses == kept.progress.losses
    assert kept.progress.samples % 2 == 0


def test_schedule_warms_up_and_anneals() -> None:
    config = TrainConfig(steps=100, warmup_steps=10, learning_rate=1.0, final_share=0.1)
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_quantisation_error_is_within_half_a_scale() -> None:
    weight = torch.randn(17, 33, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 3, 17)[:, None]
    weight[3] = 0
    values, scale = quantise_rows(weight)
    error = (values.float() * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] * 0.5001).all()
    assert values.dtype == torch.int8 and (values[3] == 0).all()


def test_export_and_merge_equal_the_trained_network(runner: Runner, tmp_path: Path) -> None:
    runner.run(tmp_path / "run", replace(CONFIG, steps=12, learning_rate=2e-2))
    size = export_run(tmp_path / "run", tmp_path / "out" / "healing.safetensors", BASE)
    assert size == (tmp_path / "out" / "healing.safetensors").stat().st_size
    adapter = read_adapter(tmp_path / "out" / "healing.safetensors")
    assert (adapter.kind, adapter.rank, adapter.base_digest) == ("healing", 2, BASE["digest"])

    trained = load_network(runner.base, "float32")
    assert read_run(tmp_path / "run", trained) == 12
    with open_checkpoint(runner.base) as checkpoint:
        state = {name: checkpoint.read(name) for name in checkpoint.names()}
    original = {name: tensor.clone() for name, tensor in state.items()}
    merge_into(state, adapter)
    assert {name for name in state if not torch.equal(state[name], original[name])} == set(adapter.factors)
    for name, linear in trained.adapted_linears():
        assert linear.lora_a is not None and linear.lora_b is not None
        exact = linear.scale * (linear.lora_b @ linear.lora_a)
        difference = (state[name] - original[name] - exact).abs().max()
        # Two factors, each off by at most 1/254 of its row's largest entry, summed over the rank.
        bound = linear.scale * 2 * (2.1 / 254) * linear.lora_a.abs().max() * linear.lora_b.abs().max()
        assert difference <= bound + 1e-6

    merged = load_network(runner.base, "float32")
    merged.merge(adapter)
    losses = [held_out_loss(network, runner.held_out, CONFIG)["all"] for network in (trained, merged)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[0] != pytest.approx(
        held_out_loss(load_network(runner.base, "float32"), runner.held_out, CONFIG)["all"]
    )


def test_merging_is_all_or_nothing(tmp_path: Path) -> None:
    factors = {"a.weight": (torch.ones(2, 3), torch.ones(4, 2)), "b.weight": (torch.ones(2, 3), torch.ones(4, 2))}
    write_adapter(tmp_path / "x.safetensors", factors, {"kind": "healing", "rank": 2, "alpha": 4, "base_digest": "d"})
    adapter = read_adapter(tmp_path / "x.safetensors")
    state = {"a.weight": torch.zeros(4, 3), "b.weight": torch.zeros(5, 3)}
    with pytest.raises(CheckpointMismatch, match=r"'b.weight' of shape \[4, 3\], this model's is \[5, 3\]"):
        merge_into(state, adapter)
    assert not state["a.weight"].any()
    del state["b.weight"]
    with pytest.raises(CheckpointMismatch, match="does not have"):
        merge_into(state, adapter)
    assert merged_weight(torch.zeros(4, 3), adapter, "a.weight").tolist() == [[4.0] * 3] * 4
    half = torch.zeros(2, 2, dtype=torch.float16)
    assert merged_weight(half, adapter, "other") is half


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04zip", b"\x80\x04pickle", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "]
)
def test_what_is_not_an_adapter_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises((CheckpointCorrupt, CheckpointUnsafe), match=r"x\.safetensors"):
        read_adapter(path)


def test_missing_adapter(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"none\.safetensors"):
        read_adapter(tmp_path / "none.safetensors")


def test_curve_is_well_formed() -> None:
    for losses, held_out in (([], []), ([1.0, 0.5], [[0, 1.2]]), ([0.0], [])):
        root = xml.etree.ElementTree.fromstring(curve_svg(losses, held_out))
        assert root.tag.endswith("svg") and len(root) > 0


def test_held_out_samples_are_fixed_and_complete(sources: list[SourceFile], maker: SampleMaker) -> None:
    samples = held_out_samples(sources, maker, 3, seed=4)
    kinds = [sample.kind for sample in samples]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(kinds, 3) and len(set(kinds)) == 5
    assert samples == held_out_samples(sources, maker, 3, seed=4)


def test_command_line_trains_evaluates_and_exports(
    tiny_base: Path,
    sources: list[SourceFile],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    data, run = tmp_path / "data", tmp_path / "home" / "run"
    data.mkdir()
    shards = {split: write_shards(data, split, sources) for split in ("train", "held_out")}  # type: ignore[arg-type]
    (data / MANIFEST).write_text(json.dumps({"shards": shards}), encoding="utf-8")
    common = ["--base", str(tiny_base), "--data", str(data), "--run", str(run)]
    flags = ["--steps", "2", "--rank", "2", "--first-layer", "1", "--precision", "float32", "--batch-tokens", "300"]
    assert main(["heal", *common, *flags]) == 0
    card = json.loads((run / "card.json").read_text(encoding="utf-8"))
    assert card["steps"] == 2 and len(card["data_digest"]) == 64 and card["base"]["name"] == "tiny"
    shown = f"seedls train heal --base {tiny_base.name} --data data --run SEEDLS_HOME/run --steps 2"
    assert card["command"].startswith(shown), "no folder of this machine in a card"
    assert (run / "loss.svg").is_file()
    out = tmp_path / "healing.safetensors"
    assert main(["export", *common, "--out", str(out)]) == 0
    capsys.readouterr()
    card_path = str(run / "card.json")
    arguments = ["--cases", "2", "--precision", "float32", "--adapter", str(out), "--card", card_path]
    assert main(["evaluate", *common[:4], *arguments]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["edit"]["cases"] == 2 and 0 <= figures["prefix_first/single"]["similarity"] <= 1
    assert list(json.loads(Path(card_path).read_text(encoding="utf-8"))["figures"]) == [
        "adapter healing.safetensors, 2 held-out cases of each kind, seed 21",
        "ordinary held-out text at step 2",
    ]


def test_command_line_errors_are_one_line(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--base", str(tiny_base), "--run", str(tmp_path / "no"), "--out", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and CHECKPOINT in error
    assert main(["heal"]) == 2
    assert main(["--help"]) == 0


def test_parameters_are_named_by_weight(tiny_base: Path) -> None:
    names = set(adapter_parameters(prepare_network(tiny_base, CONFIG)))
    assert "model.layers.1.self_attn.q_proj.weight.lora_a" in names
    assert "model.layers.2.mlp.down_proj.weight.lora_b" in names
