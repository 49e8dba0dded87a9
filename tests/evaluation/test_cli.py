from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_runtime.evaluation import bench, cli
from tests.evaluation.data_files import write_all


def test_reference_run_resume_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(write_all(tmp_path / "data"))
    for solver in ("reference", "unchanged"):
        out = str(tmp_path / solver)
        assert cli.main(["humaneval", "--data", data, "--solver", solver, "--out", out, "--json"]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert summary["pass_at_1"] == (1.0 if solver == "reference" else 0.0)
        assert "network" in summary["isolation"].lower()
    assert cli.main(["humaneval", "--data", data, "--solver", "reference", "--out", str(tmp_path / "reference")]) == 1
    assert "--resume" in capsys.readouterr().err
    again = ["humaneval", "--data", data, "--solver", "reference", "--out", str(tmp_path / "reference"), "--resume"]
    assert cli.main(again) == 0
    assert "1/1 = 100.0 %" in capsys.readouterr().out
    assert cli.main(["compare", str(tmp_path / "reference"), str(tmp_path / "unchanged")]) == 0
    assert "1 shared cases" in capsys.readouterr().out


def test_the_data_path_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEEDLS_EVAL_DATA", str(write_all(tmp_path / "data")))
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    assert cli.main(["mbpp", "--solver", "reference"]) == 0
    assert (tmp_path / "home/evaluation/mbpp-reference/summary.json").exists()
    assert "1/1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["humanevil"], "unknown benchmark 'humanevil'"),
        (["humaneval", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["humaneval", "extra"], "unexpected argument 'extra'"),
        (["compare", "one"], "at least two"),
        (["compare", "none1", "none2"], "none1: not a run folder"),
        (["mbpp", "--solver", "llama-cpp"], "llama-cpp"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEEDLS_EVAL_DATA", str(write_all(tmp_path / "data")))
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_list_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    assert "infilling-single" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "decoding"], "unknown subject 'decoding'"),
        (["--blocks", "4,x"], "--blocks"),
        (["--steps", "0"], "positive"),
        (["--baseline", "none.json"], "baseline none.json"),
    ],
)
def test_bench_bad_input_is_one_clear_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.main(arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
