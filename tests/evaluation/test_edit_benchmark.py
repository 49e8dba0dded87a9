"""The refactoring benchmark: its cases, its resumable rows, and the drafts' goal on texts that change little."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import model_runtime
from benchmarks.edits.__main__ import is_reference, main, model_row, part, reference_row, share_changed
from benchmarks.edits.corpus import MAX_LINES, MIN_LINES, RefactorCase, refactor_cases
from benchmarks.edits.offered import is_offered
from benchmarks.edits.report import quality_table, speed_table
from benchmarks.edits.rows import append_row, read_rows
from benchmarks.edits.transformations import REFACTORS
from model_runtime import EditRequest, EditStep, RuntimeConfig
from model_runtime.api import never_stop
from model_runtime.diffusion.edit import edit
from tests.support.scripted_network import Rewrite, scripted_model


class ScriptedDecoder:
    """The runtime's `edit` over a scripted network; writes the reference unless told otherwise."""

    def __init__(self, rewrite: Rewrite) -> None:
        self.model = scripted_model(rewrite, capacity=8192)
        self.info = SimpleNamespace(checkpoint="nowhere")
        self.num_edits = 0

    def edit(self, request: EditRequest) -> Iterator[EditStep]:
        self.num_edits += 1
        return edit(self.model, request, never_stop)

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def cases() -> list[RefactorCase]:
    return refactor_cases(120)


def test_there_are_enough_cases_of_every_kind_and_size(cases: list[RefactorCase]) -> None:
    assert len(cases) == 120 == len({case.case_id for case in cases})
    assert {case.kind for case in cases} == set(REFACTORS)
    sizes = [case.before.count("\n") for case in cases]
    assert min(sizes) >= MIN_LINES and max(sizes) <= MAX_LINES
    assert sum(size > 100 for size in sizes) >= 30
    assert [case.case_id for case in refactor_cases(120)] == [case.case_id for case in cases], "the same every time"


def test_every_case_compiles_before_and_after(cases: list[RefactorCase]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases:
            assert ast.dump(ast.parse(case.before)) != ast.dump(ast.parse(case.after)) or case.kind == "quotes"
            assert case.before != case.after


def test_ten_tokens_a_forward_where_at_most_a_tenth_changes(cases: list[RefactorCase]) -> None:
    tokenizer = scripted_model(str.upper).tokenizer
    rows = [reference_row(tokenizer, case) for case in cases if case.before.count("\n") <= 60][:24]
    small = [row for row in rows if row.share <= 0.10]
    assert len(small) >= 12
    assert sum(row.tokens for row in small) / sum(row.forwards for row in small) >= 10


def test_what_a_row_says(cases: list[RefactorCase]) -> None:
    case = cases[0]
    encode = scripted_model(str.upper).tokenizer.encode
    right = model_row(ScriptedDecoder(lambda code: case.after.rstrip("\n")), encode, case, "lossless")  # type: ignore[arg-type]
    assert right.is_reference and not right.adds_syntax_error and not right.changes_outside
    assert right.text == case.after and right.finish_reason == "end" and 0 < right.share < 1
    wrong = model_row(ScriptedDecoder(lambda code: code + "\n)"), encode, case, "lossless")  # type: ignore[arg-type]
    assert wrong.adds_syntax_error and not wrong.is_reference
    same = model_row(ScriptedDecoder(lambda code: code), encode, case, "fast")  # type: ignore[arg-type]
    assert same.share == 0.0 and not same.is_reference
    seen = {(row.case_id, row.policy) for row in (right, same) if is_offered(row, case)}
    assert seen == {(case.case_id, "lossless")} and not is_offered(wrong, case)
    assert not is_offered(replace(right, finish_reason="deadline"), case)
    table = quality_table([right, same], seen)
    assert "| lossless | 1 | 1 | 0 | 0 | 0 | 0 | 1 | 1 | 0 |" in table
    assert "| fast | 1 | 0 | 1 | 0 | 0 | 0 | 0 | 0 | 0 |" in table
    assert "| none | fast | 1 |" in speed_table([right, same])


def test_an_unchanged_text_is_never_the_reference(cases: list[RefactorCase]) -> None:
    assert {case.kind for case in cases if is_reference(case.after, case)} == set(REFACTORS)
    assert [case.case_id for case in cases if is_reference(case.before, case)] == []
    assert not is_reference("def f(:", cases[0])


def test_a_part_is_named_from_one() -> None:
    assert (part("1/1"), part("2/3")) == ((1, 1), (2, 3))
    for wrong in ("0/2", "3/2", "1", "x/2", ""):
        with pytest.raises(ValueError):
            part(wrong)


def test_rows_are_resumed_and_a_torn_one_is_made_again(
    tmp_path: Path, cases: list[RefactorCase], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decoder = ScriptedDecoder(lambda code: code)
    loaded: list[RuntimeConfig] = []

    def load(config: RuntimeConfig) -> ScriptedDecoder:
        loaded.append(config)
        return decoder

    monkeypatch.setitem(model_runtime.__dict__, "Runtime", SimpleNamespace(load=load))
    monkeypatch.setattr(
        "benchmarks.edits.__main__.Tokenizer", SimpleNamespace(load=lambda path: decoder.model.tokenizer)
    )
    out = tmp_path / "rows.jsonl"
    command = ["run", "--out", str(out), "--limit", "2", "--max-lines", "30", "--policies", "lossless"]
    assert main(command) == 0
    assert decoder.num_edits == 2 and len(read_rows(out)) == 2
    out.write_bytes(out.read_bytes()[:-20])
    assert len(read_rows(out)) == 1
    assert main(command) == 0
    assert decoder.num_edits == 3 and len(read_rows(out)) == 2
    assert main(command) == 0
    assert decoder.num_edits == 3 and len(loaded) == 2, "nothing is left: no model is loaded"
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.count("| none | lossless | 2 |") == 4
    assert len(cases) == 120


def test_the_share_counts_what_came_and_what_went() -> None:
    encode = list(range(256)).__getitem__

    def bytes_of(text: str) -> list[int]:
        return [encode(byte) for byte in text.encode()]

    assert share_changed(bytes_of, "abcd", "abcd") == 0.0
    assert share_changed(bytes_of, "abcd", "abXd") == 0.25
    assert share_changed(bytes_of, "abcd", "ab") == 0.5
    assert share_changed(bytes_of, "", "ab") == 2.0


def test_rows_survive_the_file(tmp_path: Path, cases: list[RefactorCase]) -> None:
    encode = scripted_model(str.upper).tokenizer.encode
    row = model_row(ScriptedDecoder(lambda code: code + "  # 🎉"), encode, cases[0], "lossless")  # type: ignore[arg-type]
    append_row(tmp_path / "new" / "rows.jsonl", row)
    assert list(read_rows(tmp_path / "new" / "rows.jsonl").values()) == [row]
