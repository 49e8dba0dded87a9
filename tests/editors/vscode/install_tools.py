"""Installs what the VS Code tests drive into `.tools/`: Node 24, code-server, playwright-core. About 800 MB.

    python tests/editors/vscode/install_tools.py

A Chromium comes from the system (apt-get install chromium). Nothing is compiled: code-server needs no native module for
what the tests do. Does nothing when everything is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "editors" / "vscode" / "scripts"))

from node import TOOLS, install_node  # noqa: E402  the folder is on the path only now

CODE_SERVER = "code-server@4.139.1"
PLAYWRIGHT = "playwright-core@1.65.1"


def main() -> int:
    """Install what is missing."""
    install_node()
    server = _install_package("code-server", CODE_SERVER)
    editor = server / "node_modules" / "code-server" / "lib" / "vscode"
    if not (editor / "node_modules" / "minimist").exists():
        _npm("install", "--omit=dev", folder=editor)
    _install_package("playwright", PLAYWRIGHT)
    return 0


def _install_package(name: str, wanted: str) -> Path:
    folder = TOOLS / name
    folder.mkdir(exist_ok=True)
    if not (folder / "node_modules" / wanted.rpartition("@")[0]).exists():
        (folder / "package.json").write_text(json.dumps({"private": True}), encoding="utf-8")
        _npm("install", wanted, folder=folder)
    return folder


def _npm(*arguments: str, folder: Path) -> None:
    programs = TOOLS / "bin"
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    command = [str(programs / "npm"), *arguments, "--ignore-scripts", "--no-fund", "--no-audit"]
    subprocess.run(command, cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    sys.exit(main())
