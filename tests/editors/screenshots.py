"""Makes the pictures of the README with the default model: ghost text and the preview of a refactoring.

    python -m tests.editors.vscode.screenshots          writes docs/images/vscode_*.png; look at them

Needs what the tests need (`make editor-tools editors model`). Nothing in a picture is arranged: the model's answers are
shown as they come.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from tests.editors.vscode.code_server import missing, server_program, workbench
from tests.support.lsp_client import ROOT

VIEWPORT = (960, 620)
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
STEPS = [
    {"action": "open", "file": "basket.py"},
    {"action": "status", "matches": "seedls: ready"},
    {"action": "press", "key": "Control+b"},
    {"action": "goTo", "place": "6:5"},
    {"action": "command", "name": "seedls: Complete at the Cursor"},
    {"action": "ghost", "shown": "vscode_ghost_text"},
    {"action": "press", "key": "Escape"},
    {"action": "refactor", "from": 9, "to": 14, "instruction": "Use sum() instead of the loop"},
    {"action": "applyPreview", "shown": "vscode_refactor"},
    {"action": "untilBuffer", "contains": "sum(values)"},
]


def main() -> int:
    """Drive the editor once and keep its pictures."""
    if reason := missing():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        (folder / "work" / "basket.py").write_text(CODE.replace("<cursor>", ""), encoding="utf-8")
        server = server_program(folder, "seedls", "serve", "--stdio")
        with workbench(folder, server) as editor:
            editor.drive(STEPS, timeout_s=120, viewport=VIEWPORT)
        for picture in folder.glob("vscode_*.png"):
            shutil.copy(picture, ROOT / "docs" / "images" / picture.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
