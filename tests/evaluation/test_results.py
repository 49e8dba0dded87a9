from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_runtime.evaluation.cases import Answer, Case
from model_runtime.evaluation.comparison import compare_runs, format_comparison
from model_runtime.evaluation.errors import DataError, EvaluationError
from model_runtime.evaluation.results import RunFolder, Sample, summarise, summarise_by_language
from model_runtime.evaluation.runner import run_cases

SETTINGS = {"benchmark": "demo", "data_digest": "d", "limit": 2, "started": "then"}


def _sample(name: str, passed: bool, **changes: object) -> Sample:
    sample = Sample(
        name, "python", "passed" if passed else "failed", passed, "é🙂\udc80", 10, 4, 50.0, 40.0, "end", passed, 0.5
    )
    return replace(sample, **changes)  # type: ignore[arg-type]


class CountingSolver:
    """Right for cases whose id ends in an even digit; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def solve(self, case: Case) -> Answer:
        self.asked.append(case.case_id)
        is_right = int(case.case_id[-1]) % 2 == 0
        return Answer(case.expected or "" if is_right else "wrong", tokens=6, forwards=2, ms=30.0)


def _cases(count: int) -> list[Case]:
    return [Case(f"c{index}", "infill", "python", expected="right", has_tests=False) for index in range(count)]


def test_a_run_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.begin(SETTINGS, resume=False) == []
    first = CountingSolver()
    run_cases(_cases(3), first, folder)
    # A killed run may leave half a line.
    with folder.samples_path.open("a") as file:
        file.write('{"case_id": "c3", "lang')
    second = CountingSolver()
    already = folder.begin({**SETTINGS, "limit": 5, "started": "now"}, resume=True)
    summary = run_cases(_cases(5), second, folder, already)
    assert second.asked == ["c3", "c4"]
    assert (summary["cases"], summary["passed"]) == (5, 3)
    assert summary["tokens_per_forward"] == 3.0
    assert len(folder.samples()) == 5
    assert folder.settings()["limit"] == 5
    assert folder.settings()["started"] == "then"


def test_results_are_never_overwritten_or_mixed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(SETTINGS, resume=False)
    with pytest.raises(EvaluationError, match="--resume"):
        folder.begin(SETTINGS, resume=False)
    with pytest.raises(EvaluationError, match="data_digest 'd' -> 'e'"):
        folder.begin({**SETTINGS, "data_digest": "e"}, resume=True)


def test_samples_survive_the_disk_with_any_text(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(SETTINGS, resume=False)
    folder.append(_sample("a", True, answer="tab\t\u2028 \r\n é🙂"))
    folder.append(_sample("b", False))
    answers = [sample.answer for sample in folder.samples()]
    assert answers[0] == "tab\t\u2028 \r\n é🙂"
    assert len(answers) == 2


def test_a_broken_samples_file_names_the_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.samples_path.write_text('{"case_id": "a"}\n')
    with pytest.raises(DataError, match=r"samples\.jsonl:1: "):
        folder.samples()
    with pytest.raises(DataError, match="not a run folder"):
        RunFolder(tmp_path / "none").settings()


def test_summary_counts_costs_and_interval() -> None:
    samples = [_sample("a", True), _sample("b", False, ms=150.0, outcome="timeout"), _sample("c", True, language="go")]
    summary = summarise(samples)
    assert summary["pass_at_1"] == pytest.approx(2 / 3, abs=1e-4)
    assert summary["interval_95"][0] < 2 / 3 < summary["interval_95"][1]
    assert (summary["tokens"], summary["forwards"], summary["tokens_per_forward"]) == (30, 12, 2.5)
    assert summary["ms_median"] == 50.0
    assert summary["tokens_per_second"] == 120.0
    assert summary["outcomes"] == {"passed": 2, "timeout": 1}
    assert set(summarise_by_language(samples)) == {"go", "python"}
    assert summarise([])["pass_at_1"] is None


def _finished(path: Path, passed: dict[str, bool], **changes: object) -> Path:
    folder = RunFolder(path)
    folder.begin(SETTINGS, resume=False)
    for name, is_passed in passed.items():
        folder.append(_sample(name, is_passed, **changes))
    return path


def test_comparison_is_paired_and_on_shared_cases(tmp_path: Path) -> None:
    first = _finished(tmp_path / "ar", {"a": True, "b": True, "c": False}, forwards=10, ms=100.0)
    second = _finished(tmp_path / "fast", {"a": True, "b": False, "c": True, "d": True}, forwards=2, ms=25.0)
    comparison = compare_runs([first, second])
    assert comparison["shared_cases"] == 3
    row = comparison["runs"][1]
    assert (row["only_this"], row["only_first"], row["p_value"]) == (1, 1, 1.0)
    assert row["speed_ratio"] == 4.0
    assert comparison["quality_under_parallelism"] == pytest.approx(2 / 3 * 100 * 5, rel=1e-3)
    assert "| fast | 66.7 % |" in format_comparison(comparison)


def test_runs_of_different_data_are_not_compared(tmp_path: Path) -> None:
    first = _finished(tmp_path / "a", {"x": True})
    other = RunFolder(tmp_path / "b")
    other.begin({**SETTINGS, "data_digest": "other"}, resume=False)
    other.append(_sample("x", True))
    with pytest.raises(EvaluationError, match="differ in data_digest"):
        compare_runs([first, other.path])
    with pytest.raises(EvaluationError, match="no case in common"):
        compare_runs([first, _finished(tmp_path / "c", {"y": True})])
