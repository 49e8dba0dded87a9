"""A real VS Code in a headless Chromium: ghost text, a previewed refactoring, status item, restart after a kill."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from seedls.syntax import parse
from tests.editors.vscode.code_server import Workbench, missing, server_program, workbench
from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
CODE = '# 漢👋 café\ndef add(a, b):\n    \n\n\nprint("👋", add(1, 2))\n'
NAMES = "call the parameters left and right"
OPENED = ({"action": "open", "file": "a.py"}, {"action": "status", "matches": "seedls: ready"})
TRIGGER = {"action": "command", "name": "seedls: Complete at the Cursor"}


@pytest.fixture(autouse=True)
def _tools() -> None:
    if reason := missing():
        pytest.skip(reason)


def _fake(folder: Path, script: Script) -> Path:
    (folder / "script.json").write_text(script.to_json(), encoding="utf-8")
    return server_program(folder, "tests.support.fake_server", str(folder / "script.json"))


def _write(folder: Path, text: str) -> Path:
    (folder / "work").mkdir()
    file = folder / "work" / "a.py"
    file.write_bytes(text.encode())
    return file


def _steps(*steps: Any) -> list[dict[str, Any]]:
    return [step if isinstance(step, dict) else {"action": step} for step in steps]


@pytest.mark.parametrize("line_ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_ghost_text_and_refactoring_end_up_in_the_file(tmp_path: Path, line_ending: str) -> None:
    script = Script(
        completions=(PlannedCompletion("total = a + b  # 👋\n    return total", after="    "),),
        edits=(PlannedEdit("add(a, b):\n    total = a + b", "add(left, right):\n    total = left + right", NAMES),),
        record=str(tmp_path / "calls.jsonl"),
    )
    file = _write(tmp_path, CODE.replace("\n", line_ending))
    with workbench(tmp_path, _fake(tmp_path, script)) as editor:
        seen = editor.drive(
            _steps(
                *OPENED,
                {"action": "goTo", "place": "3:5"},
                TRIGGER,
                {"action": "ghost", "shown": "ghost"},
                {"action": "press", "key": "Tab"},
                {"action": "untilBuffer", "contains": "    return total"},
                {"action": "refactor", "from": 2, "to": 4, "instruction": NAMES, "shown": "box"},
                {"action": "preview", "shown": "preview"},
                "applyPreview",
                {"action": "untilBuffer", "contains": "def add(left, right):"},
                "save",
                {"action": "menu", "shown": "menu"},
            )
        )
    assert "total = a + b" in seen["ghost"][0]
    assert any("Add type hints (selection)" in row for row in seen["refactor"][0])
    assert any("Restart the server" in row for row in seen["menu"][0])
    assert [row.split("line")[0] for row in seen["preview"][0]] == [
        "def add(left, right):",
        "total = left + right  # 👋",
    ]
    expected = CODE.replace(
        "add(a, b):\n    \n", "add(left, right):\n    total = left + right  # 👋\n    return total\n"
    )
    assert file.read_bytes().decode() == expected.replace("\n", line_ending)


@pytest.mark.slow
def test_changes_are_ticked_one_by_one_and_a_preview_can_be_discarded(tmp_path: Path) -> None:
    script = Script(edits=(PlannedEdit("left", "first", "Simplify"),))
    before = "def add(left, b):\n    total = b\n    return total + left\n"
    file = _write(tmp_path, before)
    with workbench(tmp_path, _fake(tmp_path, script)) as editor:
        seen = editor.drive(
            _steps(
                *OPENED,
                # By the editor's own menu: the same preview, and not the editor's unticked one.
                {"action": "goTo", "place": "1:6"},
                {"action": "codeAction", "name": "Simplify"},
                "preview",
                "discardPreview",
                {"action": "untilBuffer", "contains": "def add(left, b):"},
                {"action": "refactor", "from": 1, "to": 3, "instruction": "Simplify it"},
                "preview",
                {"action": "tick", "row": 1},
                {"action": "press", "key": "Control+Enter"},
                "previewClosed",
                {"action": "untilBuffer", "contains": "def add(first, b):"},
                "save",
                {"action": "press", "key": "Control+z"},
                {"action": "untilBuffer", "contains": "def add(left, b):"},
            )
        )
    assert [len(rows) for rows in seen["preview"]] == [2, 2]
    assert file.read_text(encoding="utf-8") == before.replace("(left", "(first")


@pytest.mark.slow
def test_it_forms_step_by_step_in_the_preview(tmp_path: Path) -> None:
    half = CODE.replace("add(a, b)", "add(a, c)")
    slow = PlannedEdit("add(a, b)", "add(c, d)", "names", steps=(half,) * 2000, step_s=0.05)
    file = _write(tmp_path, CODE)
    with workbench(tmp_path, _fake(tmp_path, Script(edits=(slow,)))) as editor:
        seen = editor.drive(
            _steps(
                *OPENED,
                {"action": "refactor", "from": 2, "to": 3, "instruction": "other names"},
                {"action": "preview", "shown": "live"},
                {"action": "status", "matches": "busy"},
                "applyPreview",
                {"action": "untilBuffer", "contains": "def add(a, c):"},
                {"action": "status", "matches": "seedls: ready"},
                "save",
            )
        )
    assert len(seen["preview"][0]) == 1
    assert file.read_text(encoding="utf-8") == half


BROKEN = "def add(a, b:\n    pass\n"
MENDED = "def add(a, b):\n    return a + b\n"
REPAIRS = (
    PlannedEdit("add(a, b:", "add(a, b):", "Repair the syntax errors"),
    PlannedEdit("pass", "return a + b", "Implement the body"),
)


@pytest.mark.slow
def test_a_broken_file_is_repaired_its_body_written_and_silence_has_a_reason(tmp_path: Path) -> None:
    script = Script(completions=(PlannedCompletion("never", confidence=0.01),), edits=REPAIRS)
    file = _write(tmp_path, BROKEN)
    with workbench(tmp_path, _fake(tmp_path, script)) as editor:
        seen = editor.drive(
            _steps(
                *OPENED,
                {"action": "command", "name": "seedls: Repair This File"},
                {"action": "preview"},
                "applyPreview",
                {"action": "untilBuffer", "contains": "def add(a, b):"},
                {"action": "goTo", "place": "2:5"},
                {"action": "command", "name": "seedls: Complete This Block"},
                {"action": "preview"},
                "applyPreview",
                {"action": "untilBuffer", "contains": "return a + b"},
                "save",
                {"action": "goTo", "place": "3:1"},
                TRIGGER,
                {"action": "status", "matches": "seedls: quiet"},
            )
        )
    assert [len(rows) for rows in seen["preview"]] == [1, 1]
    assert "last completion: quiet" in seen["status"][-1]
    assert file.read_text(encoding="utf-8") == MENDED


@pytest.mark.slow
def test_without_the_preview_every_rewrite_is_applied_at_once(tmp_path: Path) -> None:
    file = _write(tmp_path, BROKEN)
    with workbench(tmp_path, _fake(tmp_path, Script(edits=REPAIRS)), **{"seedls.edit.confirm": False}) as editor:
        editor.drive(
            _steps(
                *OPENED,
                {"action": "command", "name": "seedls: Repair This File"},
                {"action": "untilBuffer", "contains": "def add(a, b):"},
                {"action": "refactor", "from": 1, "to": 2, "instruction": "Implement the body"},
                {"action": "untilBuffer", "contains": "return a + b"},
                "save",
            )
        )
    assert file.read_text(encoding="utf-8") == MENDED


@pytest.mark.slow
def test_the_server_is_installed_on_request(tmp_path: Path) -> None:
    """Into an environment of its own; a small package stands in for the server, everything else is real."""
    script = Script(completions=(PlannedCompletion("return a + b", after="    "),))
    (tmp_path / "script.json").write_text(script.to_json(), encoding="utf-8")
    _write(tmp_path, CODE)
    package = _stand_in(tmp_path / "package", tmp_path / "script.json")
    settings = {
        "seedls.server.package": str(package),
        "seedls.server.pipArguments": ["--no-index"],
    }
    settings["seedls.server.python"] = sys.executable
    environment = {**os.environ, "PATH": str(_empty(tmp_path))}
    with workbench(tmp_path, None, environment=environment, **settings) as editor:
        seen = editor.drive(
            _steps(
                {"action": "open", "file": "a.py"},
                {"action": "status", "matches": "not found"},
                {"action": "menuEntry", "name": "Install the server"},
                {"action": "status", "matches": "seedls: ready"},
                {"action": "goTo", "place": "3:5"},
                TRIGGER,
                "ghost",
            ),
            timeout_s=180,
        )
    assert "return a + b" in seen["ghost"][0]
    assert (tmp_path / "installed-model.txt").read_text(encoding="utf-8").split() == ["model", "install", "coder-0.5b"]


def _empty(folder: Path) -> Path:
    """A PATH without a server on it; code-server itself needs only what its interpreter brings."""
    (folder / "bin").mkdir()
    return folder / "bin"


def _stand_in(folder: Path, script: Path) -> Path:
    """A wheel `seedls` that pip installs without an index, and whose program serves the script."""
    program = (
        "#!/bin/sh\n"
        f'if [ "$1" = model ]; then echo "$@" > {script.parent}/installed-model.txt; exit; fi\n'
        f"export PYTHONPATH={ROOT}\nexec {sys.executable} -m tests.support.fake_server {script}\n"
    )
    files = {
        "seedls-0.data/scripts/seedls": program,
        "seedls-0.dist-info/METADATA": "Metadata-Version: 2.1\nName: seedls\nVersion: 0\n",
        "seedls-0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "seedls-0.dist-info/RECORD": "",
    }
    folder.mkdir()
    wheel = folder / "seedls-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16  # pip keeps who may run it
            archive.writestr(entry, text)
    return wheel


def test_settings_live_and_a_killed_server_comes_back(tmp_path: Path) -> None:
    script = Script(completions=(PlannedCompletion("return a + b", after="    "),))
    _write(tmp_path, CODE)
    toggle = {"action": "command", "name": "seedls: Turn Completions On or Off"}
    with workbench(tmp_path, _fake(tmp_path, script)) as editor:
        seen = editor.drive(
            _steps(
                *OPENED,
                toggle,
                {"action": "status", "matches": "off for python"},
                {"action": "goTo", "place": "3:5"},
                TRIGGER,
                {"action": "noGhost", "after_ms": 1500},
                toggle,
                {"action": "wait", "ms": 500},
                TRIGGER,
                {"action": "ghost"},
                {"action": "press", "key": "Escape"},
                {"action": "kill", "pid_file": str(tmp_path / "server.pid")},
                {"action": "wait", "ms": 1000},
                {"action": "status", "matches": "seedls: ready"},
                TRIGGER,
                {"action": "ghost"},
            )
        )
        assert editor.user_settings()["seedls.completion.disabledLanguages"] == []
    assert seen["noGhost"] == [0]
    assert ["return a + b" in ghost for ghost in seen["ghost"]] == [True, True]


def test_a_server_that_is_nowhere_is_said_so(tmp_path: Path) -> None:
    _write(tmp_path, CODE)
    with workbench(tmp_path, tmp_path / "nowhere") as editor:
        seen = editor.drive(
            _steps({"action": "open", "file": "a.py"}, {"action": "status", "matches": "not found"}, {"action": "menu"})
        )
    assert "nowhere" in seen["status"][0]
    assert any("Set the path" in row for row in seen["menu"][0])


@pytest.mark.model
def test_the_default_model_completes_and_refactors(tmp_path: Path) -> None:
    file = _write(tmp_path, CODE)
    with workbench(tmp_path, server_program(tmp_path, "seedls", "serve", "--stdio")) as editor:
        seen = _complete_and_refactor(editor)
    text = file.read_text(encoding="utf-8")
    assert "return a + b" in seen["ghost"][0]
    assert text.startswith("# 漢👋 café\ndef add(")
    assert text.endswith('\n\n\nprint("👋", add(1, 2))\n')
    assert "return a + b" in text
    assert text != CODE.replace("    \n", "    return a + b\n")
    tree = parse("python", text)
    assert tree is not None
    assert tree.count_errors() == 0


def _complete_and_refactor(editor: Workbench) -> dict[str, list[Any]]:
    return editor.drive(
        _steps(
            {"action": "open", "file": "a.py"},
            {"action": "status", "matches": "seedls: ready"},
            {"action": "goTo", "place": "3:5"},
            TRIGGER,
            {"action": "ghost", "shown": "ghost"},
            {"action": "press", "key": "Tab"},
            {"action": "untilBuffer", "contains": "return a + b"},
            {"action": "refactor", "from": 2, "to": 3, "instruction": "Add type hints", "shown": "box"},
            {"action": "preview", "shown": "preview"},
            "applyPreview",
            {"action": "untilBuffer", "contains": "def add(a: "},
            "save",
        ),
        timeout_s=240,
    )
