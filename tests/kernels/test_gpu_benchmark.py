"""The GPU benchmark, rehearsed on the emulation: every stage runs, what is cut off goes on, what is wrong is said."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu import end_to_end, run, stages
from benchmarks.gpu.cases import SHAPES
from benchmarks.gpu.report import Results
from benchmarks.gpu.step import filled_cache, random_network
from model_runtime.kernels import Kernels, reference
from model_runtime.models.fused_qwen2 import WeightFormat
from tests.cuda_emulation.backend import EmulationBackend, compiler
from tests.cuda_path.fused_model import write_fused_checkpoint

needs_compiler = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")
SMALL = ("--emulate", "--shape", "tiny", "--rows", "2", "--context", "20", "--dtype", "float16")


@needs_compiler
def test_a_rehearsal_fills_every_stage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end_to_end, "SETTINGS", end_to_end.SETTINGS[:2])
    model = write_fused_checkpoint(tmp_path / "model")
    # The peer's stage imports a large package and needs its device; the decoding stages are the same loop twice.
    names = ",".join(name for name in stages.STAGES if name not in ("peer", "off", "latency"))
    asked = [*SMALL, "--model", str(model), "--rounds", "1", "--cases", "1", "--stages", names]
    assert run.main([*asked, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(found) == names.split(",")
    assert not [name for name in found if "failed" in found[name]]
    assert {row["operation"] for row in found["kernels"]} >= {
        "rms_norm",
        "block_attention",
        "linear_int4",
        "head_argmax",
    }
    assert all(row["is_right"] and row["kernel_us"] is None for row in found["kernels"])
    assert {(row["weights"], row["is_finite"]) for row in found["step"]} == {
        ("dense", True), ("int8", True), ("int4", True)
    }  # fmt: skip
    assert found["same"] == {"cases": 1, "same": 1, "differ": []}
    assert found["decoding"]["ar"]["tokens_per_forward"] == 1.0
    assert found["decoding"]["lossless"]["same_text"] == 1.0
    assert sum(row["calls"] for row in found["breakdown"]) == 2 * (2 + 1 + 1 + 1 + 4) + 1
    assert (tmp_path / "out" / "results.md").read_text() in capsys.readouterr().out


@needs_compiler
def test_a_kernel_that_is_wrong_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = reference.swiglu
    monkeypatch.setattr(reference, "swiglu", lambda gate_up: right(gate_up) * 1.5)
    assert run.main([*SMALL, "--stages", "checks", "--out", str(tmp_path)]) == 1
    assert "WRONG: swiglu" in capsys.readouterr().err


@needs_compiler
def test_without_the_model_its_stages_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    asked = [*SMALL, "--model", str(tmp_path / "nothing"), "--stages", "same,peer", "--out", str(tmp_path / "out")]
    assert run.main(asked) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert all("nothing" in found[name]["skipped"] for name in ("same", "peer"))


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    ran: list[str] = []

    def stage(name: str) -> Any:
        def run_it(bench: Any) -> dict[str, str]:
            ran.append(name)
            if name == "b" and ran.count("b") == 1:
                raise RuntimeError("CUDA error: unspecified launch failure")
            return {"did": name}

        return run_it

    table = {name: stage(name) for name in "abc"}
    bench, late = SimpleNamespace(), time.monotonic() + 60
    failed = run.run_stages(["a", "b"], table, bench, Results(tmp_path), late, again=False)
    assert failed == ["b: CUDA error: unspecified launch failure"]
    assert not run.run_stages(["a", "b", "c"], table, bench, Results(tmp_path), late, again=False)
    assert ran == ["a", "b", "b", "c"]
    assert json.loads((tmp_path / "results.json").read_text())["b"] == {"did": "b"}
    assert not run.run_stages(["a"], table, bench, Results(tmp_path), time.monotonic() - 1, again=True)
    assert ran == ["a", "b", "b", "c"]  # no time left


def test_results_are_readable_tables(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.add("facts", {"card": "a|b", "bytes": 3.0e-5})
    results.add("rows", [{"rows": 1, "us": 2.5}, {"rows": 8, "us": None, "is_right": False}])
    text = (tmp_path / "results.md").read_text()
    assert "- card: a/b\n- bytes: 3.0e-05" in text
    assert "| rows | us | is_right |\n|---|---|---|\n| 1 | 2.5 | - |\n| 8 | - | NO |" in text


def test_an_unknown_stage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.parse_options(["--out", str(tmp_path), "--stages", "step,stop"])
    assert "unknown stage 'stop'" in capsys.readouterr().err


@needs_compiler
@pytest.mark.parametrize("weights", ["dense", "int8"])
def test_greedy_tokens_are_the_same_with_kernels_on_and_off(weights: WeightFormat) -> None:
    """The network that the step table times."""
    found = []
    for kernels in (Kernels(EmulationBackend(), "emulated"), Kernels(None, "reference")):
        network = random_network(SHAPES["tiny"], weights, kernels, torch.float16, torch.device("cpu"), 64)
        cache = filled_cache(network, context=33, capacity=64)
        record = network.decide(2, [3, 4], 4, cache, torch.tensor([511]), 2.0)
        found.append((record.num_accepted, record.token_ids))
    assert found[0] == found[1]
    assert len(set(found[0][1])) > 1
