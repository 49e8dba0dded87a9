"""Makes the pictures of the README with the default model: ghost text and a previewed refactoring in both editors.

    python -m tests.editors.screenshots          writes docs/images/*.png; look at them

Needs what the tests need (`make editor-tools editors model`). Nothing in a picture is arranged: the model's answers are
shown as they come.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.editors.neovim.picture import photograph
from tests.editors.neovim.process import neovim, server_command, with_plugin
from tests.editors.vscode.code_server import browser, missing, server_program, workbench
from tests.support.lsp_client import ROOT

IMAGES = ROOT / "docs" / "images"
VIEWPORT = (960, 620)
WAIT_S = 180.0
CODE = '''"""Shopping baskets."""


def total_price(items):
    """The price of all items together."""
    <cursor>


def mean(values):
    """The mean of a list of numbers."""
    total = 0
    for value in values:
        total += value
    return total / len(values)
'''
INSTRUCTION = "Use sum() instead of the loop"
STEPS = [
    {"action": "open", "file": "basket.py"},
    {"action": "status", "matches": "seedls: ready"},
    {"action": "press", "key": "Control+b"},
    {"action": "goTo", "place": "6:5"},
    {"action": "command", "name": "seedls: Complete at the Cursor"},
    {"action": "ghost", "shown": "vscode_ghost_text"},
    {"action": "press", "key": "Escape"},
    {"action": "refactor", "from": 9, "to": 14, "instruction": INSTRUCTION},
    {"action": "status", "matches": "seedls: ready"},
    {"action": "preview", "shown": "vscode_refactor"},
    {"action": "applyPreview"},
    {"action": "untilBuffer", "contains": "sum(values)"},
]
SETUP = """
vim.o.number = true
vim.o.laststatus = 2
vim.o.background = 'light'
vim.o.statusline = " %f %m %=%{v:lua.require'seedls'.statusline()} "
require('seedls').setup({ cmd = COMMAND })
"""


def main() -> int:
    """Drive each editor once and keep its pictures."""
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        visual_studio_code(Path(name))
    with tempfile.TemporaryDirectory() as name:
        headless_neovim(Path(name))
    return 0


def visual_studio_code(folder: Path) -> None:
    """Ghost text and the preview, in VS Code."""
    _write_code(folder / "work")
    server = server_program(folder, "seedls", "serve", "--stdio")
    with workbench(folder, server) as editor:
        editor.drive(STEPS, timeout_s=WAIT_S, viewport=VIEWPORT)
    for picture in folder.glob("vscode_*.png"):
        shutil.copy(picture, IMAGES / picture.name)


def headless_neovim(folder: Path) -> None:
    """The same in Neovim."""
    program = browser()
    assert program is not None
    file = _write_code(folder / "work")
    init = with_plugin(SETUP.replace("COMMAND", server_command("seedls", "serve", "--stdio")))
    with neovim(folder, init, [file], timeout_s=WAIT_S, size=(84, 24)) as editor:
        editor.lua("vim.cmd.cd(...)", str(file.parent))
        editor.until_lua("require('seedls').known().state == 'ready'")
        editor.keys("6GA<M-Bslash>")  # asked for: the model takes the time for more than a line
        editor.until_lua("require('seedls.ghost').is_visible()")
        editor.until_lua("require('seedls').statusline() == 'seedls'")
        photograph(editor.screen, program, IMAGES / "neovim_ghost_text.png")
        editor.keys(f"<Esc>:9,14Seedls refactor {INSTRUCTION}<CR>")
        editor.until_lua("require('seedls.preview').is_open(0) and require('seedls').statusline() == 'seedls'")
        editor.until_shown("sum(values)")
        photograph(editor.screen, program, IMAGES / "neovim_refactor.png")


def _write_code(folder: Path) -> Path:
    folder.mkdir()
    file = folder / "basket.py"
    file.write_text(CODE.replace("<cursor>", ""), encoding="utf-8")
    return file


if __name__ == "__main__":
    sys.exit(main())
