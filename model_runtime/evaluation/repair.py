"""HumanEvalFix (HumanEvalPack, BigCode, MIT): a correct function with one planted bug; its tests decide.

`repair` keeps the bugs that are one token: localise by confidence, repair in place. `repair-all` keeps every bug.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.readers import Row, read_rows

# The Go tests need a third-party assertion module, so they are not offered.
LANGUAGE_FILES = {"humanevalpack_python.jsonl": "python", "humanevalpack_js.jsonl": "javascript"}
_TOKEN = re.compile(r"\w+|[<>=!+\-*/%&|^]+|[^\w\s]")


def load_repair(data: Path | None) -> list[Case]:
    """Cases where one code token is wrong, missing or too many."""
    return [_case(row, language) for row, language in _rows(data) if _is_one_token(row)]


def load_repair_all(data: Path | None) -> list[Case]:
    """All cases."""
    return [_case(row, language) for row, language in _rows(data)]


def changed_tokens(before: str, after: str) -> tuple[int, int]:
    """Changed places, and the largest number of code tokens on either side of one of them."""
    matcher = SequenceMatcher(None, _TOKEN.findall(before), _TOKEN.findall(after), autojunk=False)
    changes = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    return len(changes), max((max(i2 - i1, j2 - j1) for _, i1, i2, j1, j2 in changes), default=0)


def _is_one_token(row: Row) -> bool:
    return changed_tokens(row.text("buggy_solution"), row.text("canonical_solution")) == (1, 1)


def _rows(data: Path | None) -> list[tuple[Row, str]]:
    if data is None:
        raise EvaluationError("no evaluation data: pass --data PATH or set SEEDLS_EVAL_DATA")
    if data.is_file():
        return [(row, LANGUAGE_FILES.get(data.name, "python")) for row in read_rows(data)]
    folder = data / "humanevalpack" if (data / "humanevalpack").is_dir() else data
    found = [(folder / name, language) for name, language in LANGUAGE_FILES.items() if (folder / name).is_file()]
    if not found:
        raise EvaluationError(f"{folder}: found none of {', '.join(LANGUAGE_FILES)}")
    return [(row, language) for path, language in found for row in read_rows(path)]


def _case(row: Row, language: str) -> Case:
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    return Case(
        case_id=f"Fix{row.text('task_id')}",
        kind="edit",
        language=language,
        prefix=prompt + row.text("buggy_solution"),
        instruction=f"Fix the bug in {entry_point}.",
        expected=prompt + row.text("canonical_solution"),
        tail=f"\n\n{row.text('test')}\n",
        max_tokens=1024,
    )
