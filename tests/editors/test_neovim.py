"""A real headless Neovim (0.11) against the server: the wire with the scripted engine, then the default model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seedls.syntax import parse
from tests.editors.neovim.process import neovim_program
from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import ROOT

pytestmark = pytest.mark.e2e
CODE = '# 漢👋 café\ndef add(a, b):\n    \n\n\nprint("👋", add(1, 2))\n'


def _drive(folder: Path, file: Path, command: list[str], timeout_s: float, **plan: Any) -> dict[str, Any]:
    """Run the driver on `file`; what it saw."""
    report = folder / "report.json"
    plan = {
        "report": str(report),
        "file": str(file),
        "cmd": command,
        "env": {"PYTHONPATH": str(ROOT)},
        "runtimepath": str(ROOT / "editors" / "neovim"),
        "timeout_ms": int(timeout_s * 1000),
        **plan,
    }
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    driver = ROOT / "tests" / "editors" / "driver.lua"
    done = subprocess.run(
        [neovim_program(), "--headless", "--clean", "-l", str(driver), str(folder / "plan.json")],
        capture_output=True,
        text=True,
        timeout=timeout_s * 2 + 20,
        cwd=folder,
        check=False,
    )
    assert report.exists(), done.stderr
    seen: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    assert done.returncode == 0, (seen.get("problem"), done.stderr)
    return seen


@pytest.mark.parametrize("line_ending", ["\n", "\r\n"])
def test_suggestion_and_refactoring_end_up_in_the_file(tmp_path: Path, line_ending: str) -> None:
    script = Script(
        completions=(PlannedCompletion("total = a + b  # 👋\n    return total", after="    "),),
        edits=(PlannedEdit("add(a, b):", "add(a: int, b: int) -> int:", "type hints"),),
        record=str(tmp_path / "calls.jsonl"),
    )
    (tmp_path / "script.json").write_text(script.to_json(), encoding="utf-8")
    file = tmp_path / "a.py"
    file.write_bytes(CODE.replace("\n", line_ending).encode())
    command = [sys.executable, "-m", "tests.support.fake_server", str(tmp_path / "script.json")]
    seen = _drive(tmp_path, file, command, 20, cursor=[3, 4], range=[[2, 0], [4, 16]], action="Add type hints")
    assert seen["encoding"] == "utf-8"
    assert seen["messages"][:-1] == []  # the last one is the status the driver asked for
    expected = CODE.replace(
        "add(a, b):\n    \n", "add(a: int, b: int) -> int:\n    total = a + b  # 👋\n    return total\n"
    )
    assert file.read_bytes().decode() == expected.replace("\n", line_ending)
    assert seen["status"]["counters"]["accepted"] == 1


@pytest.mark.model
@pytest.mark.timeout(300)
def test_the_default_model_completes_and_refactors(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(CODE, encoding="utf-8")
    command = [sys.executable, "-m", "seedls", "serve", "--stdio"]
    seen = _drive(tmp_path, file, command, 120, cursor=[3, 4], range=[[2, 0], [3, 16]], action="Add type hints")
    text = file.read_text(encoding="utf-8")
    assert seen["suggestion"].strip() == "return a + b"
    assert text.startswith("# 漢👋 café\ndef add(")
    assert text.endswith('\n\n\nprint("👋", add(1, 2))\n')
    tree = parse("python", text)
    assert tree is not None
    assert tree.count_errors() == 0
    changed = text != CODE.replace("    \n", "    return a + b\n")
    # Either a real change that keeps the body, or silence with its reason: never a broken file.
    assert (changed and "return a + b" in text) or any("Add type hints" in line for line in seen["messages"])
