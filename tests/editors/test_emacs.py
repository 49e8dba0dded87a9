"""A real Emacs with eglot and the documented configuration: suggestions of the menu, a rewrite, the saved file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lsprotocol import types

from seedls.features.commands import edit_metadata
from tests.editors.vscode.code_server import server_program
from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import ROOT

pytestmark = pytest.mark.e2e
CODE = '# 漢👋 café\ndef add(a, b):\n    \n\n\nprint("👋", add(1, 2))\n'
PAGE = ROOT / "docs" / "editors" / "emacs.md"


def documented_blocks() -> list[str]:
    return re.findall(r"^```elisp\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def emacs_with_eglot() -> str:
    """Skips without one; eglot is part of Emacs 29, a package before."""
    program = shutil.which("emacs")
    if program is None:
        pytest.skip("no emacs (apt-get install emacs-nox elpa-eglot)")
    probe = [program, "--batch", "--eval", "(progn (package-initialize) (require 'eglot))"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("no eglot (Emacs 29, or apt-get install elpa-eglot)")
    return program


def test_the_documented_configuration_completes_and_rewrites(tmp_path: Path) -> None:
    log = tmp_path.parent / f"{tmp_path.name}.log"  # outside of the folder that the server watches
    program = emacs_with_eglot()
    script = Script(
        completions=(PlannedCompletion("return a + b  # 👋", after="    "),),
        edits=(PlannedEdit("add(a, b):", "add(a: int, b: int) -> int:", "type hints"),),
    )
    (tmp_path / "script.json").write_text(script.to_json(), encoding="utf-8")
    server = server_program(tmp_path, "tests.support.fake_server", str(tmp_path / "script.json"), str(log))
    file = tmp_path / "a.py"
    file.write_text(CODE, encoding="utf-8")
    (tmp_path / "init.el").write_text("(package-initialize)\n" + "\n".join(documented_blocks()[:2]), encoding="utf-8")
    loaded = [str(tmp_path / "init.el"), str(ROOT / "tests" / "editors" / "eglot_driver.el")]
    done = subprocess.run(
        [program, "--batch", "-l", loaded[0], "-l", loaded[1], str(file), str(tmp_path / "report.json")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PATH": f"{server.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr + log.read_text("utf-8")[-2000:]
    seen = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert seen["candidates"] == ["return a + b  # 👋"]
    expected = CODE.replace("add(a, b):\n    \n", "add(a: int, b: int) -> int:\n    return a + b  # 👋\n")
    assert file.read_text(encoding="utf-8") == expected


def test_what_eglot_would_refuse_is_only_sent_to_those_who_know_it() -> None:
    """eglot 1.9 answers a `workspace/applyEdit` with an unknown field by an error."""
    assert edit_metadata(types.ClientCapabilities()) is None
    for knows_it in (False, True):
        edit = types.WorkspaceEditClientCapabilities(metadata_support=knows_it)
        workspace = types.WorkspaceClientCapabilities(workspace_edit=edit)
        assert (edit_metadata(types.ClientCapabilities(workspace=workspace)) is not None) == knows_it


def test_the_documented_lisp_can_be_read(tmp_path: Path) -> None:
    program = shutil.which("emacs")
    if program is None:
        pytest.skip("no emacs")
    blocks = documented_blocks()
    assert len(blocks) == 3
    for block in blocks:
        file = tmp_path / "block.el"
        file.write_text(block, encoding="utf-8")
        reading = f'(with-temp-buffer (insert-file-contents "{file}") (while (ignore-errors (read (current-buffer)))) '
        reading += '(skip-chars-forward "\\n") (unless (eobp) (kill-emacs 1)))'
        assert subprocess.run([program, "--batch", "--eval", reading], check=False).returncode == 0, block
