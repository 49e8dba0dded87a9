"""MBXP (Athiwaratkun et al. 2022, Amazon, CC-BY-4.0) and its HumanEval translations (MIT): several languages."""

from __future__ import annotations

from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.languages import body_stops
from model_runtime.evaluation.readers import Row, read_rows

MBXP_PATTERNS = ("mbpp_release*.jsonl", "mb*sp_release*.jsonl", "mbgp_release*.jsonl")
HUMANEVAL_PATTERNS = ("HumanEval_*.jsonl",)


def load_mbxp(data: Path | None) -> list[Case]:
    """Every language file of the mbxp folder."""
    return _load(data, "mbxp", MBXP_PATTERNS)


def load_multilingual_humaneval(data: Path | None) -> list[Case]:
    """Every language file of the multilingual_humaneval folder."""
    return _load(data, "multilingual_humaneval", HUMANEVAL_PATTERNS)


def _load(data: Path | None, folder: str, patterns: tuple[str, ...]) -> list[Case]:
    if data is None:
        raise EvaluationError("no evaluation data: pass --data PATH or set SEEDLS_EVAL_DATA")
    root = data / folder if (data / folder).is_dir() else data
    files = [root] if root.is_file() else sorted({path for pattern in patterns for path in root.glob(pattern)})
    if not files:
        raise EvaluationError(f"{root}: found none of {', '.join(patterns)}")
    return [_case(row) for path in files for row in read_rows(path)]


def _case(row: Row) -> Case:
    language, prompt = row.text("language"), row.text("prompt")
    start = prompt.rstrip("\n")
    stops, closing = body_stops(language)
    call = f"\ncheck({row.text('entry_point')})\n" if language == "python" else ""
    expected = row.optional_text("canonical_solution")
    return Case(
        case_id=row.text("task_id"),
        kind="generate",
        language=language,
        prefix=start,
        expected=prompt[len(start) :] + expected if expected else None,
        head=start,
        tail=f"\n{row.text('test')}{call}",
        stop_strings=stops,
        closing=closing,
        max_tokens=384,
    )
