"""The command line with the installed default model, in a process of its own: nothing scripted anywhere on the path."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT

pytestmark = [pytest.mark.model, pytest.mark.e2e]

SOURCE = '''def area(width, height):
    """Area of a rectangle."""
    return width * height


def perimeter(width, height):
    """Perimeter of a rectangle."""
    return 2 * (width + height)
'''


def seedls(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seedls", *words]
    environment = {**os.environ, "SEEDLS_OFFLINE": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_complete_fills_a_hole_and_says_what_it_cost(tmp_path: Path) -> None:
    file = tmp_path / "shapes.py"
    file.write_text(SOURCE.replace("width * height\n", "\n"), encoding="utf-8")
    done = seedls("complete", str(file), "--line", "2", "--column", "11", "--max-lines", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "progress is off when stderr is no terminal"
    answer = json.loads(done.stdout)
    assert answer["text"].strip() and "\n" not in answer["text"].rstrip("\n")
    assert answer["tokens"] >= 1 and answer["forwards"] >= 1 and answer["ms"] > 0


def test_infill_lossless_writes_what_ar_writes(tmp_path: Path) -> None:
    before, _, after = SOURCE.partition("2 * (width + height)")
    cases = tmp_path / "in.jsonl"
    lines = [{"id": "one", "prefix": before, "suffix": after}, {"id": "empty", "prefix": "", "suffix": ""}]
    cases.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    middles = {}
    for policy in ("ar", "lossless"):
        out = tmp_path / f"{policy}.jsonl"
        flags = ["--cases", str(cases), "--out", str(out), "--policy", policy, "--max-lines", "1", "--max-tokens", "24"]
        done = seedls("infill", *flags)
        assert done.returncode == 0, done.stderr
        results = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert [result["id"] for result in results] == ["one", "empty"]
        middles[policy] = [result["middle"] for result in results]
    assert middles["ar"] == middles["lossless"]
    assert middles["ar"][0].strip()


def test_edit_changes_only_its_lines_and_keeps_line_endings(tmp_path: Path) -> None:
    file = tmp_path / "shapes.py"
    before = SOURCE.replace("\n", "\r\n").encode()
    file.write_bytes(before)
    done = seedls("edit", str(file), "--instruction", "Add type hints.", "--range", "0:2", "--write")
    after = file.read_bytes()
    if done.returncode == 1:  # a small model may propose what must not be written; then nothing is
        assert after == before and done.stderr.startswith("seedls: the edit")
        return
    assert done.returncode == 0, done.stderr
    tail = before[before.index(b"\r\n\r\n\r\n") :]
    assert after.endswith(tail) and after.count(b"\n") == after.count(b"\r\n")
    ast.parse(after)


def test_the_demo_passes() -> None:
    done = seedls("demo")
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.count("== complete") >= 3 and "== edit" in done.stdout
    assert "tokens/s" in done.stdout and "forwards" in done.stdout
