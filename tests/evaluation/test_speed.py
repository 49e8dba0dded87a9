"""The speed benchmarks: their arithmetic, and that a deliberately slow step is caught."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_runtime.api import CompletionRequest, CompletionResult, ShouldStop, Timings, never_stop
from model_runtime.evaluation import bench
from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.solvers import DecodeOptions, Decoder, RuntimeSolver
from model_runtime.evaluation.speed.cancel import measure_cancel
from model_runtime.evaluation.speed.decode import Setting, measure_decoding, settings_for
from model_runtime.evaluation.speed.latency import measure_latency_curve
from model_runtime.evaluation.speed.lines import measure_lines
from model_runtime.evaluation.speed.peers import PeerSolver, cut_at_stop, peer_prompt
from model_runtime.evaluation.speed.prefill import measure_prefill
from model_runtime.evaluation.speed.report import find_regressions, format_report
from model_runtime.evaluation.speed.timing import regressions
from model_runtime.evaluation.speed.workload import completion_cases, edit_cases
from tests.evaluation.decoders import ScriptedDecoder

WORDS = "one two three four five six seven eight nine ten eleven twelve"


def test_workload_fits_its_texts() -> None:
    for case in completion_cases():
        assert case.expected and case.expected in case.program(case.expected)
        assert f"{case.prefix}{case.expected}{case.suffix}".count(case.prefix) == 1
    assert {case.kind for case in edit_cases()} == {"edit"}
    names = [case.case_id for case in completion_cases() + edit_cases()]
    assert len(set(names)) == len(names)


def test_setting_names() -> None:
    assert [setting.name for setting in settings_for([4], [2])] == [
        "ar", "lossless", "lossless-b4", "lossless-s2", "fast", "fast-b4", "fast-s2",
    ]  # fmt: skip


def test_decoding_ratios_follow_the_forwards() -> None:
    decoder = ScriptedDecoder(lambda asked: WORDS, step_seconds=0.002)
    settings = [
        Setting(DecodeOptions("ar")),
        Setting(DecodeOptions("lossless", block=8)),
        Setting(DecodeOptions("fast")),
    ]
    figures = measure_decoding(decoder, completion_cases()[:2], settings, rounds=2)
    assert figures["ar"]["speed_ratio"] == 1.0
    assert figures["lossless-b8"]["tokens_per_forward"] == 3.0
    assert 2.0 < figures["lossless-b8"]["speed_ratio"] < 4.0
    assert figures["fast"]["speed_ratio"] > figures["lossless-b8"]["speed_ratio"]
    assert figures["fast"]["same_text"] == 1.0
    assert {params.block_size for params in decoder.params} == {None, 8}


def test_latency_curve_has_a_figure_for_each_block() -> None:
    decoder = ScriptedDecoder(lambda asked: WORDS, step_seconds=0.002)
    curve = measure_latency_curve(decoder, completion_cases()[0], blocks=(1, 8), rounds=2)
    assert set(curve) == {"1", "8"}
    assert 2.0 <= curve["8"]["ms_per_forward"] < 20.0
    assert curve["8"]["forwards"] == 8


def test_cancel_to_idle_is_the_rest_of_a_step() -> None:
    decoder = ScriptedDecoder(lambda asked: WORDS, step_seconds=0.02)
    figures = measure_cancel(decoder, completion_cases()[:1], rounds=2)
    assert figures["count"] >= 4
    assert 0 < figures["p50_ms"] < 30


class ScriptedBench:
    """Replaces loading in the bench command: a decoder with a step time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step_seconds = 0.002
        monkeypatch.setattr(bench, "_load_runtime", self.load)

    def load(self, arguments: object) -> tuple[Decoder, dict[str, Any]]:
        return ScriptedDecoder(lambda asked: WORDS, self.step_seconds), {"name": "scripted"}


@pytest.mark.parametrize("subject", ["decode", "edit", "latency", "prefill", "cancel", "peers"])
def test_a_slow_step_is_caught(
    subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = ScriptedBench(monkeypatch)
    before = str(tmp_path / "before.json")
    common = ["--only", subject, "--rounds", "1", "--blocks", "8"]
    assert bench.main([*common, "--out", before]) == 0
    # Other processes may make a sleep several times as long: ten times the step, four times allowed.
    assert bench.main([*common, "--baseline", before, "--tolerance", "3.0"]) == 0
    scripted.step_seconds = 0.02
    assert bench.main([*common, "--baseline", before, "--tolerance", "3.0"]) == 1
    assert f"slower than the baseline: {subject}" in capsys.readouterr().err


def test_peers_that_are_absent_are_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ScriptedBench(monkeypatch).step_seconds = 0.0
    monkeypatch.setattr(bench, "is_present", lambda peer: False)
    assert bench.main(["--only", "peers", "--rounds", "1", "--json"]) == 0
    peers = json.loads(capsys.readouterr().out)["peers"]
    assert "not installed" in peers["llama-cpp"]["absent"]
    assert "not installed" in peers["transformers"]["absent"]
    assert peers["runtime"]["tokens_per_second"] > 0


def test_lines_are_compared_in_one_run() -> None:
    """A peer three times slower reads as such; an exact line counts also when its beginning was typed."""
    cases = [case for case in completion_cases() if case.max_lines == 1][:2]
    wholes = {case.prefix: f"{case.expected}\nmore" for case in cases}

    def answer(asked: str) -> str:
        prefix = max((p for p in wholes if p in asked), key=len)  # one file: a later hole's prefix holds the earlier's
        return wholes[prefix][len(asked) - asked.index(prefix) - len(prefix) :]

    fast = RuntimeSolver(ScriptedDecoder(answer, step_seconds=0.004), DecodeOptions())
    slow = RuntimeSolver(ScriptedDecoder(answer, step_seconds=0.012), DecodeOptions())
    figures = measure_lines({"ours": fast, "theirs": slow}, cases, rounds=2)
    assert figures["ours"]["exact"] == figures["ours"]["exact_typing"] == 1.0
    for kind in ("cold", "repeated", "typing"):
        assert 1.8 < figures["theirs"][f"runtime_is_faster_{kind}"] < 4.5, kind
    assert 1.8 < figures["theirs"]["runtime_tokens_per_second_ratio"] < 4.5
    wrong = RuntimeSolver(ScriptedDecoder(lambda asked: "pass"), DecodeOptions())
    assert measure_lines({"ours": wrong}, cases, rounds=1)["ours"]["exact"] == 0.0


def test_prefill_counts_what_was_read() -> None:
    class Reader(ScriptedDecoder):
        def complete(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> CompletionResult:
            seen.append(request.prefix)
            tokens = len(request.prefix) // 3
            timings = Timings(prefill_ms=tokens / 8, denoise_ms=tokens / 8, prompt_tokens=tokens, cached_tokens=10)
            return CompletionResult("", "end", 1, 1, confidence=1.0, timings=timings)

    seen: list[str] = []
    figures = measure_prefill(Reader(lambda asked: ""), completion_cases()[0], (100, 400), rounds=2)
    assert len({text[:40] for text in seen}) == 6, "every prompt begins with text no cache has seen"
    assert figures["400"]["tokens"] == len(seen[-1]) // 3 - 10
    assert figures["400"]["ms_per_token"] == pytest.approx(0.25, rel=0.1)


def test_reports_of_other_work_are_not_compared() -> None:
    with pytest.raises(bench.EvaluationError, match="workload 1 cannot be compared with 2"):
        find_regressions({"workload": 1}, {"workload": 2}, 0.25)


def test_regressions_respect_direction_and_tolerance() -> None:
    before = {"a": 100.0, "gone": 1.0}
    assert regressions(before, {"a": 124.0, "new": 9.0}, 0.25, higher_is_better=False) == []
    assert [str(r) for r in regressions(before, {"a": 126.0}, 0.25, higher_is_better=False)] == ["a: 100 -> 126"]
    assert regressions(before, {"a": 81.0}, 0.25, higher_is_better=True) == []
    assert len(regressions(before, {"a": 79.0}, 0.25, higher_is_better=True)) == 1


def test_report_has_a_table_for_each_subject() -> None:
    decoder = ScriptedDecoder(lambda asked: WORDS)
    report = {
        "date": "today",
        "machine": {},
        "decode": measure_decoding(decoder, completion_cases()[:1], [Setting(DecodeOptions("ar"))], 1),
        "latency": measure_latency_curve(decoder, completion_cases()[0], (4,), 1),
        "load": {"load_s": 1.0},
        "peers": {"llama-cpp": {"absent": "no"}},
    }
    text = format_report(report)
    for words in ("| decode |", "| ar | 1.0 |", "| block |", "load_s 1.0", "llama-cpp: absent no"):
        assert words in text


def _stream(pieces: list[str]) -> PeerSolver:
    def stream(prompt: str, max_tokens: int) -> Iterator[str]:
        yield from pieces[:max_tokens]

    return PeerSolver(stream)


def test_a_peer_stops_by_the_same_rules() -> None:
    single = Case("a", "infill", "python", suffix="    return x\n", max_lines=1, max_tokens=9)
    answer = _stream(["x = ", "1", "\n", "y = 2", "\n"]).solve(single)
    assert (answer.text, answer.tokens, answer.finish_reason) == ("x = 1\n", 3, "stop_rule")
    several = Case("b", "infill", "python", suffix="    return x\n", max_tokens=9)
    assert _stream(["x = 1\n", "    return x\n", "more"]).solve(several).text == "x = 1\n"
    braces = Case("c", "generate", "go", stop_strings=("\n}",), closing="\n}\n", max_tokens=9)
    assert _stream([" return 1", "\n}", "\nfunc"]).solve(braces).text == " return 1\n}\n"
    assert _stream(["a"] * 20).solve(single).finish_reason == "length"
    assert _stream(["a"]).solve(single).finish_reason == "end"


def test_peer_layouts() -> None:
    infill = Case("a", "infill", "python", prefix="P", suffix="S")
    assert peer_prompt(infill) == "<|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>"
    assert peer_prompt(Case("b", "generate", "python", prefix="P")) == "P"
    assert "<|im_start|>user\nP<|im_end|>" in peer_prompt(Case("c", "generate", "python", prefix="P", chat=True))
    assert cut_at_stop("going on", infill) is None
