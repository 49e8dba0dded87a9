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


def test_only_some_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    lines = [f"    value_{number} = compute(value, {number})" for number in range(40)]
    (sources / "a.py").write_text("\n".join(["def f(value):", *lines, ""]), encoding="utf-8")
    out = tmp_path / "run"
    arguments = ["corpus", "--data", str(sources), "--solver", "reference", "--out", str(out), "--json"]
    assert cli.main([*arguments, "--only", ":line"]) == 0
    num_lines = json.loads(capsys.readouterr().out)["cases"]
    ids = [json.loads(line)["case_id"] for line in (out / "samples.jsonl").read_text("utf-8").splitlines()]
    assert 0 < num_lines == len(ids) < 6  # the file gives six holes, not all of one kind
    assert all(":line" in each for each in ids)
    assert cli.main([*arguments, "--only", ":half", "--resume"]) == 1
    assert "only ':line' -> ':half'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["humanevil"], "unknown benchmark 'humanevil'"),
        (["humaneval", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["humaneval", "--only", "Nobody"], "--only 'Nobody' is in no id of humaneval, like HumanEval/0"),
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
