"""HumanEval-Infilling (OpenAI, MIT): a line, several lines or a random span cut out of a solution; its tests decide."""

from __future__ import annotations

from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.locations import find_data
from model_runtime.evaluation.readers import Row, read_rows

FOLDER = "humaneval_infilling/HumanEval-"


def load_single_line(data: Path | None) -> list[Case]:
    """The hole is one whole line: the request asks for one line, as an editor does for a single-line suggestion."""
    return [_case(row, max_lines=1, max_tokens=96) for row in read_rows(_file(data, "SingleLine"))]


def load_single_line_free(data: Path | None) -> list[Case]:
    """The same holes with no line limit: the model has to find the end of the hole by itself."""
    return [_case(row, max_lines=None, max_tokens=96) for row in read_rows(_file(data, "SingleLine"))]


def load_multi_line(data: Path | None) -> list[Case]:
    """The hole is a run of whole lines of unknown number."""
    return [_case(row, max_lines=None, max_tokens=256) for row in read_rows(_file(data, "MultiLine"))]


def load_random_span(data: Path | None) -> list[Case]:
    """The hole starts and ends anywhere."""
    return [_case(row, max_lines=None, max_tokens=192) for row in read_rows(_file(data, "RandomSpan"))]


def _file(data: Path | None, kind: str) -> Path:
    return find_data(data, (f"{FOLDER}{kind}Infilling.jsonl.gz", f"{FOLDER}{kind}Infilling.jsonl"))


def _case(row: Row, *, max_lines: int | None, max_tokens: int) -> Case:
    prefix, suffix = row.text("prompt"), row.text("suffix")
    expected = row.text("canonical_solution")
    tests = f"\n\n{row.text('test')}\ncheck({row.text('entry_point')})\n"
    # Whole-line holes: what follows starts a line, whether or not the answer ended with its newline.
    separator = "\n" if expected.endswith("\n") else ""
    return Case(
        case_id=row.text("task_id"),
        kind="infill",
        language="python",
        prefix=prefix,
        suffix=suffix,
        expected=expected,
        head=prefix,
        tail=f"{separator}{suffix}{tests}",
        stop_strings=("\ndef ", "\nclass ", "\nif __name__"),
        max_tokens=max_tokens,
        max_lines=max_lines,
    )
