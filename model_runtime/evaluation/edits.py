"""Executable edits: an instruction, the text before, and tests that only a right edit passes.

Rows (JSON lines): id, instruction, before, tests, and optionally after (a reference) and language (default python).
Without `--data`, the set kept with the repository under `benchmarks/edits/` is used.
"""

from __future__ import annotations

from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.locations import find_data
from model_runtime.evaluation.readers import Row, read_rows

OWN_SET = Path(__file__).resolve().parents[2] / "benchmarks" / "edits" / "edits.jsonl"


def load_edits(data: Path | None) -> list[Case]:
    """The rows of `data` (file, or folder with edits/edits.jsonl), else of the repository's own set."""
    has_own_file = data is not None and (data.is_file() or any(data.glob("**/edits.jsonl")))
    path = find_data(data, ("edits/edits.jsonl",)) if has_own_file or not OWN_SET.is_file() else OWN_SET
    return [_case(row) for row in read_rows(path)]


def _case(row: Row) -> Case:
    before = row.text("before")
    return Case(
        case_id=row.identifier("id"),
        kind="edit",
        language=row.optional_text("language") or "python",
        prefix=before,
        instruction=row.text("instruction"),
        expected=row.optional_text("after") or None,
        tail=f"\n\n{row.text('tests')}\n",
        # Room to rewrite the whole text with additions; about three characters a token.
        max_tokens=max(256, len(before) // 2),
    )
