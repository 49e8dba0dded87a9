"""Infilling cut from a folder of source files: exact match and edit similarity, no execution.

Holes are chosen by hash, so the same folder always gives the same cases:
`line` (the rest of a line after its indentation), `half` (from the middle of a line), `block` (2-6 whole lines of one
indentation). Use code whose licence permits it, and that the model was not trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.errors import EvaluationError

LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".ts": "typescript",
    ".tsx": "typescriptreact",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".cpp": "cpp",
    ".java": "java",
}
LINES_BEFORE, LINES_AFTER, HOLES_PER_FILE = 60, 30, 6
MAX_FILE_BYTES = 400_000
_COMMENTS = ("#", "//", "/*", "*", "--", '"""', "'''")


def load_corpus(data: Path | None) -> list[Case]:
    """Cut holes from every source file under `data`; files that are not UTF-8, huge or minified are left out."""
    if data is None or not data.is_dir():
        raise EvaluationError(f"corpus needs --data FOLDER with source files, got {data}")
    cases = [case for path in sorted(data.rglob("*")) for case in _cases_of_file(path, data)]
    if not cases:
        raise EvaluationError(f"{data}: no source files ({', '.join(LANGUAGES)})")
    return cases


def _cases_of_file(path: Path, root: Path) -> Iterator[Case]:
    language = LANGUAGES.get(path.suffix)
    if language is None or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        return
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return
    lines = text.split("\n")
    if max(map(len, lines)) > 500:
        return
    name = path.relative_to(root).as_posix()
    candidates = [index for index in range(3, len(lines) - 1) if _is_worth_asking(lines[index])]
    candidates.sort(key=lambda index: _hash(f"{name}:{index}"))
    for index in candidates[:HOLES_PER_FILE]:
        yield _cut(lines, index, name, language)


def _is_worth_asking(line: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= 8 and not stripped.startswith(_COMMENTS) and any(map(str.isalpha, stripped))


def _cut(lines: list[str], index: int, name: str, language: str) -> Case:
    line = lines[index].removesuffix("\r")
    indentation = len(line) - len(line.lstrip())
    last = _block_end(lines, index)
    choice = _hash(f"kind {name}:{index}") % 4
    if choice == 3 and last > index:
        kind, column, max_lines = "block", indentation, None
    elif choice == 2:
        kind, column, max_lines, last = "half", (indentation + len(line)) // 2, 1, index
    else:
        kind, column, max_lines, last = "line", indentation, 1, index
    end = lines[last].removesuffix("\r")
    hole = "\n".join([*lines[index:last], end])[column:]
    before = [*lines[max(0, index - LINES_BEFORE) : index], line[:column]]
    after = [lines[last][len(end) :], *lines[last + 1 : last + 1 + LINES_AFTER]]
    return Case(
        case_id=f"{name}:{index + 1}:{kind}",
        kind="infill",
        language=language,
        prefix="\n".join(before),
        suffix="\n".join(after),
        expected=hole,
        has_tests=False,
        max_tokens=64 if max_lines else 192,
        max_lines=max_lines,
    )


def _block_end(lines: list[str], start: int) -> int:
    """Last of at most six lines that are indented like the first, or deeper."""
    indentation = len(lines[start]) - len(lines[start].lstrip())
    end = start
    while end + 1 < len(lines) - 1 and end - start < 5:
        line = lines[end + 1]
        if not line.strip() or len(line) - len(line.lstrip()) < indentation:
            break
        end += 1
    return end


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
