"""The set-ups of editors/neovim/README.md, word for word: what they need is only a `seedls` on the PATH.

With the default model and from nothing: tests/editors/test_first_steps.py.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.editors.neovim.process import PLUGIN, neovim
from tests.editors.vscode.code_server import server_program
from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import ROOT

pytestmark = pytest.mark.e2e
PAGE = (PLUGIN / "README.md").read_text(encoding="utf-8")
CODE = "def add(a, b):\n    \n"
RECORDED = """  -- what Neovim 0.12 has, as far as the set-up calls it
vim.lsp.inline_completion = {
  enable = function() vim.g.is_enabled = true end,
  get = function() return vim.g.has_suggestion == true end,
}
"""


def block_under(heading: str) -> str:
    found = re.search(rf"^\*\*{re.escape(heading)}\*\*.*?^```lua\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1].replace("~/src/seedls", str(ROOT))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = Script(
        completions=(PlannedCompletion("return a + b  # 👋", after="    "),),
        edits=(PlannedEdit("add(a, b)", "add(a, b=1)", "one"),),
    )
    (tmp_path / "script.json").write_text(script.to_json(), encoding="utf-8")
    server_program(tmp_path, "tests.support.fake_server", str(tmp_path / "script.json"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "a.py").write_text(CODE, encoding="utf-8")
    return tmp_path / "a.py"


def test_without_a_plugin_manager(tmp_path: Path, file: Path) -> None:
    with neovim(tmp_path, block_under("No plugin manager"), [file]) as editor:
        editor.until_lua("require('seedls').statusline() == 'seedls'")
        editor.keys("GA")
        editor.until_shown("return a + b  # 👋")
        editor.keys("<Tab><Esc>")
        editor.until(lambda: editor.lines()[1] == "    return a + b  # 👋")
        editor.keys(":Seedls refactor let b be one<CR>")
        editor.until_shown("def add(a, b=1):")
        editor.keys("g<CR>:w<CR>")
        editor.until(lambda: file.read_text("utf-8") == "def add(a, b=1):\n    return a + b  # 👋\n")


def test_without_a_plugin(tmp_path: Path, file: Path) -> None:
    with neovim(tmp_path, RECORDED + block_under("No plugin at all"), [file]) as editor:
        editor.until_lua("#vim.lsp.get_clients({ name = 'seedls', bufnr = 0 }) == 1")
        editor.until_lua("vim.g.is_enabled")
        editor.keys("GA<Tab>x<Esc>")
        editor.until(lambda: editor.lines()[1] == "        x")  # no suggestion: a tab as ever
        editor.lua("vim.g.has_suggestion = true")
        editor.keys("A<Tab>y<Esc>")
        editor.until(lambda: editor.lines()[1] == "        xy")  # taken by `get`: no tab


def test_lazy_nvim_finds_what_it_loads() -> None:
    """lazy.nvim needs a folder with lua/NAME, and calls its setup with `opts`."""
    block = block_under("lazy.nvim")
    folder, name = re.search(r'dir = "(.*?)", name = "(\w+)", opts = \{\}', block).groups()  # type: ignore[union-attr]
    assert (Path(folder) / "lua" / name / "init.lua").exists()
    assert (Path(folder) / "plugin" / f"{name}.lua").exists()
