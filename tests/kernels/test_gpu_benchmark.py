"""The GPU benchmark, rehearsed on the emulation: it runs to the end and its decoder agrees with plain torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import run
from benchmarks.gpu.cases import SHAPES
from benchmarks.gpu.step import RandomDecoder
from model_runtime.kernels import Kernels
from tests.cuda_emulation.backend import EmulationBackend, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")


def test_rehearsal_writes_both_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--emulate", "--out", str(tmp_path), "--shape", "tiny", "--rows", "2", "--context", "20"]
    monkeypatch.setattr(sys, "argv", ["run", *arguments])
    assert run.main() == 0
    results = json.loads((tmp_path / "kernels.json").read_text())
    assert {row["operation"] for row in results["kernels"]} >= {
        "rms_norm",
        "block_attention",
        "linear_int4",
        "head_argmax",
    }
    assert all(row["is_right"] and row["kernel_us"] is None for row in results["kernels"])
    assert results["fallbacks"] == ["kernels: CUDA, CPU emulation: no times"]
    assert (tmp_path / "kernels.md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"


@pytest.mark.parametrize("kind", ["dense", "int8"])
def test_greedy_tokens_are_the_same_with_kernels_on_and_off(dtype: torch.dtype, kind: str) -> None:
    shape, device = SHAPES["tiny"], torch.device("cpu")
    decided = []
    for kernels in (Kernels(EmulationBackend(), "emulated"), Kernels(None, "reference")):
        decoder = RandomDecoder(shape, kind, dtype, rows=7, context=33, device=device)
        result = decoder.step(kernels)
        decided.append((result.tokens.tolist(), result.canvas.tolist(), result.status.tolist()))
    assert decided[0] == decided[1]
    assert len(set(decided[0][0])) > 1
