"""Checks, tests and packages the extension, with the server's own wheel inside: one command on a fresh machine.

    python editors/vscode/scripts/build.py          what `make editors` runs

Needs Python 3.11 or newer and a package index, none of the server's packages; a Node that is missing or too old is
fetched as a wheel (node.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from node import TOOLS, folder_with_npm
from sources import STAMP, source_digest
from write_settings import main as write_settings

FOLDER = Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent.parent
WHEELS = FOLDER / "server"


def main() -> int:
    """Build; the exit code of the first step that fails."""
    if write_settings(["--check"]) != 0:
        return 1
    programs = folder_with_npm()
    path = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    for command in (["ci", "--ignore-scripts"], ["run", "check"], ["test"]):
        _npm(programs, path, *command)
    build_wheel()
    shutil.copy(ROOT / "LICENSE", FOLDER / "LICENSE")
    (FOLDER / "dist").mkdir(exist_ok=True)
    digest = source_digest()  # before: what changes while it is packaged may not be in the package
    _npm(programs, path, "run", "package")
    STAMP.write_text(digest + "\n", encoding="utf-8")
    for package in sorted((FOLDER / "dist").glob("*.vsix")):
        print(f"{package.relative_to(ROOT)}  {package.stat().st_size / 1e6:.1f} MB")
    return 0


def build_wheel() -> None:
    """The server as a wheel beside the extension: what *Install the Server* installs."""
    # setuptools packages whatever lies in its own folder, also modules that are no more.
    for folder in (WHEELS, ROOT / "build" / "lib"):
        shutil.rmtree(folder, ignore_errors=True)
    environment = TOOLS / "wheel-venv"  # a system's Python often has no pip of its own
    if not (environment / "bin" / "pip").exists():
        venv.create(environment, with_pip=True)
    command = [environment / "bin" / "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", WHEELS, ROOT]
    subprocess.run(command, check=True)


def _npm(programs: Path, path: str, *arguments: str) -> None:
    subprocess.run([programs / "npm", *arguments], cwd=FOLDER, env={**os.environ, "PATH": path}, check=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:
        print(f"{Path(str(failed.cmd[0])).name} failed with {failed.returncode}", file=sys.stderr)
        sys.exit(1)
