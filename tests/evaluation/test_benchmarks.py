"""Every quality benchmark: the right answer passes, a deliberately broken model is caught."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.edits import OWN_SET, load_edits
from model_runtime.evaluation.errors import DataError, EvaluationError
from model_runtime.evaluation.registry import BENCHMARKS, benchmark_named
from model_runtime.evaluation.repair import changed_tokens
from model_runtime.evaluation.results import Sample
from model_runtime.evaluation.runner import answer_case
from model_runtime.evaluation.solvers import ReferenceSolver, RuntimeSolver, UnchangedSolver
from model_runtime.evaluation.toolchains import missing_tools
from tests.evaluation.data_files import write_all, write_rows
from tests.evaluation.decoders import ScriptedDecoder

WITH_FILES = [name for name in BENCHMARKS if name != "corpus"]


def _load(name: str, data: Path) -> list[Case]:
    cases = BENCHMARKS[name].load(data)
    if reason := missing_tools(cases[0].language):
        pytest.skip(reason)
    return cases


@pytest.mark.parametrize("name", WITH_FILES)
def test_the_reference_passes_and_nothing_does_not(name: str, tmp_path: Path) -> None:
    for case in _load(name, write_all(tmp_path)):
        assert answer_case(case, ReferenceSolver()).passed, name
        assert not answer_case(case, UnchangedSolver()).passed, name


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_broken_model_is_caught(name: str, tmp_path: Path) -> None:
    """A decoder whose tokens come out in the wrong order, as with a shuffled layer: fluent pieces, wrong text."""
    cases = _load(name, write_all(tmp_path))
    answers = {case.prefix: case.expected or "" for case in cases}
    broken = RuntimeSolver(ScriptedDecoder(lambda asked: _shuffled(answers[asked])))
    assert not any(answer_case(case, broken).passed for case in cases)


@pytest.mark.parametrize("name", WITH_FILES)
def test_a_right_model_passes_through_the_runtime_interface(name: str, tmp_path: Path) -> None:
    cases = _load(name, write_all(tmp_path))

    def answer(asked: str) -> str:
        case = next(case for case in cases if case.prefix == asked)
        text = case.expected or ""
        return f"Here it is:\n```python\n{text}\n```\nDone." if case.chat else text

    for case in cases:
        sample = answer_case(case, RuntimeSolver(ScriptedDecoder(answer)))
        assert sample.passed, sample
        assert sample.forwards < sample.tokens or sample.tokens < 3


def _shuffled(text: str) -> str:
    return "".join(reversed(re.findall(r"\w+|\W+", text)))


def test_the_own_edit_set_is_right() -> None:
    """Every reference passes its tests, no unchanged text does, nothing is asked twice."""
    cases = load_edits(None)
    assert OWN_SET.is_file()
    assert len(cases) >= 40
    assert len({case.case_id for case in cases}) == len(cases)
    for case in cases:
        if missing_tools(case.language):
            continue
        assert answer_case(case, ReferenceSolver()).passed, case.case_id
        assert not answer_case(case, UnchangedSolver()).passed, case.case_id


def test_corpus_cuts_holes_that_fit_back(tmp_path: Path) -> None:
    body = "\tgreeting = 'hi 🙂 ' + name\n\treturn greeting.upper()\n"
    source = f"import os\n\n\ndef héllo(name):\n{body}\n\nvalue = héllo('x')\n"
    (tmp_path / "a.py").write_bytes(source.encode())
    (tmp_path / "b.js").write_bytes(source.replace("\n", "\r\n").encode())
    (tmp_path / "empty.py").write_bytes(b"")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    (tmp_path / "minified.js").write_text("x" * 600)
    cases = BENCHMARKS["corpus"].load(tmp_path)
    assert {case.case_id.split(":")[0] for case in cases} == {"a.py", "b.js"}
    for case in cases:
        text = source if case.language == "python" else source.replace("\n", "\r\n")
        assert case.expected
        assert f"{case.prefix}{case.expected}{case.suffix}" in text
        assert answer_case(case, ReferenceSolver()).passed
        wrong = answer_case(case, RuntimeSolver(ScriptedDecoder(lambda asked: "pass")))
        assert not wrong.passed
        assert wrong.similarity is not None and wrong.similarity < 1
    assert BENCHMARKS["corpus"].load(tmp_path) == cases


def test_corpus_without_sources_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no source files"):
        BENCHMARKS["corpus"].load(tmp_path)
    with pytest.raises(EvaluationError, match="--data FOLDER"):
        BENCHMARKS["corpus"].load(None)


@pytest.mark.parametrize("name", [name for name in WITH_FILES if name != "edits"])
def test_missing_data_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="SEEDLS_EVAL_DATA"):
        BENCHMARKS[name].load(None)
    with pytest.raises(EvaluationError, match=re.escape(str(tmp_path))):
        BENCHMARKS[name].load(tmp_path)


def test_a_field_of_the_wrong_type_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "humaneval/HumanEval.jsonl"
    write_rows(path, [{"task_id": "x", "prompt": None}])
    with pytest.raises(DataError, match=re.escape(f"{path}:1: 'prompt'")):
        BENCHMARKS["humaneval"].load(tmp_path)


def test_an_unknown_benchmark_lists_the_known_ones() -> None:
    with pytest.raises(EvaluationError, match=r"unknown benchmark 'humanevil'.*humaneval, "):
        benchmark_named("humanevil")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("return a > b", "return a < b", (1, 1)),
        ("return a >= b", "return a - b", (1, 1)),
        ("return a", "return a", (0, 0)),
        ("x = 1; y = 2", "x = 2; y = 1", (2, 1)),
        ("return f(a)", "return f(a, b)", (1, 2)),
    ],
)
def test_changed_tokens(before: str, after: str, expected: tuple[int, int]) -> None:
    assert changed_tokens(before, after) == expected


def test_single_line_asks_for_one_line_and_the_free_variant_does_not(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert BENCHMARKS["infilling-single"].load(tmp_path)[0].max_lines == 1
    assert BENCHMARKS["infilling-single-free"].load(tmp_path)[0].max_lines is None


def test_an_error_of_the_runtime_is_a_failed_sample(tmp_path: Path) -> None:
    from model_runtime.errors import OutOfMemory

    def explode(asked: str) -> str:
        raise OutOfMemory("needs 9 GiB")

    case = BENCHMARKS["humaneval"].load(write_all(tmp_path))[0]
    sample: Sample = answer_case(case, RuntimeSolver(ScriptedDecoder(explode)))
    assert (sample.outcome, sample.passed, sample.detail) == ("error", False, "OutOfMemory: needs 9 GiB")
