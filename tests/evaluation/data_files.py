"""Small data files in the layout of every benchmark, written for these tests."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

ADD = {
    "task_id": "HumanEval/0",
    "prompt": 'def add(a, b):\n    """Add. 🙂"""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n",
}
SINGLE = {
    "task_id": "SingleLineInfilling/HumanEval/0/L0",
    "entry_point": "area",
    "prompt": "def area(w, h):\n",
    "suffix": "    return result\n",
    "canonical_solution": "    result = w * h\n",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 6\n",
}
MBPP = {
    "task_id": 7,
    "prompt": "Write a function double.",
    "code": "def double(x):\r\n    return 2 * x",
    "test_imports": ["import math"],
    "test_list": ["assert double(math.ceil(1.5)) == 4"],
}
MBXP = {
    "task_id": "MBJSP/1",
    "language": "javascript",
    "prompt": "/** double */\nfunction double(x) {\n",
    "entry_point": "double",
    "canonical_solution": "  return 2 * x;\n}",
    "test": "if (double(2) !== 4) { throw 'wrong'; }\n",
}
FIX = {
    "task_id": "Python/0",
    "prompt": 'def below(a, b):\n    """Is a below b?"""\n',
    "entry_point": "below",
    "buggy_solution": "    return a > b\n",
    "canonical_solution": "    return a < b\n",
    "test": "def check(below):\n    assert below(1, 2)\n    assert not below(2, 1)\ncheck(below)\n",
}
EDIT = {
    "id": "rename",
    "language": "python",
    "instruction": "Rename f to g.",
    "before": "def f():\n    return 1\n",
    "after": "def g():\n    return 1\n",
    "tests": "assert g() == 1\nassert 'f' not in globals()",
}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON, JSON lines or gzipped JSON lines, by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), "utf-8")
        return
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_all(root: Path) -> Path:
    """One case of every benchmark under `root`."""
    write_rows(root / "humaneval/HumanEval.jsonl.gz", [ADD])
    for kind in ("SingleLine", "MultiLine", "RandomSpan"):
        write_rows(root / f"humaneval_infilling/HumanEval-{kind}Infilling.jsonl.gz", [SINGLE])
    write_rows(root / "mbpp/sanitized-mbpp.json", [MBPP])
    write_rows(root / "mbxp/mbjsp_release_v1.2.jsonl", [MBXP])
    write_rows(root / "multilingual_humaneval/HumanEval_javascript_v1.1.jsonl", [MBXP])
    write_rows(root / "humanevalpack/humanevalpack_python.jsonl", [FIX])
    write_rows(root / "edits/edits.jsonl", [EDIT])
    return root
