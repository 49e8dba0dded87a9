"""A home folder in which nothing of seedls was ever installed, and README.md's own words for changing that.

Two things are lent, to spare gigabytes a run: the third-party packages of this interpreter (links on PYTHONPATH, so
that pip finds them installed and needs no index) and the downloaded model (one link). Everything of seedls itself
is a copy of this checkout, in the folder that the page names.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import model_runtime
from tests.support.lsp_client import ROOT

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")
CHAPTER = "60 seconds to an editor"
_OURS = re.compile(r"seedls|__editable__|pip\b|distutils-precedence|_virtualenv")


def chapter() -> str:
    """The part of README.md that says how to begin."""
    return PAGE.split(f"## {CHAPTER}\n")[1].split("\n## ")[0]


def block_after(words: str, language: str = "") -> str:
    """The first code block behind `words` in that chapter."""
    found = re.search(rf"{re.escape(words)}.*?^```{language}\n(.*?)^```", chapter(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"README.md has no block after {words!r}"
    return found[1]


def table_row(what: str) -> tuple[str, str]:
    """(VS Code, Neovim) of the chapter's table: what is set in code or in italics there, without the marks."""
    row = re.search(rf"^\| {re.escape(what)} \|(.*)\|(.*)\|$", chapter(), re.MULTILINE)
    assert row is not None, f"README.md has no row {what!r}"
    marked = [re.search(r"`([^`]+)`|_([^_]+)_", cell) for cell in row.groups()]
    assert all(marked), row[0]
    return tuple(cell[1] or cell[2] for cell in marked if cell)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class CleanMachine:
    """Where everything lies; `environment` is all that its programs see."""

    folder: Path
    environment: Mapping[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def clone(self) -> Path:
        return self.home / "src" / "seedls"

    @property
    def bin(self) -> Path:
        """Programs that the page takes for granted; nothing of seedls."""
        return self.folder / "bin"

    def program(self, name: str, *command: str | Path) -> None:
        """Put a program on the PATH that runs another one."""
        words = " ".join(f"'{word}'" for word in command)
        (self.bin / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def terminal(self, commands: str, timeout_s: float) -> tuple[str, dict[str, str]]:
        """Type commands in the clone; what they printed, and the environment that the terminal then has."""
        last = self.folder / "environment"
        done = subprocess.run(
            ["sh", "-e", "-c", f"{commands}\nenv -0 > '{last}'"],
            cwd=self.clone,
            env=dict(self.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        pairs = (tuple(entry.split("=", 1)) for entry in last.read_text(encoding="utf-8").split("\0") if entry)
        return done.stdout, dict(pairs)


def clean_machine(folder: Path) -> CleanMachine:
    """Make one below `folder`."""
    environment = {
        "HOME": str(folder / "home"),
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(_lent_packages(folder / "packages")),
        "PIP_NO_INDEX": "1",
        # pip reads the variable of a `--no-` option as the value of what it negates: 0 turns isolation off, and the
        # lent setuptools builds.
        "PIP_NO_BUILD_ISOLATION": "0",
        "HF_HUB_OFFLINE": "1",
    }
    machine = CleanMachine(folder, environment)
    machine.bin.mkdir()
    machine.program("python3", Path(sys.executable).resolve())
    assert shutil.which("seedls", path=environment["PATH"]) is None
    _copy_checkout(machine.clone)
    models = machine.home / ".cache" / "seedls" / "models"
    models.mkdir(parents=True)
    installed = model_runtime.model_details("coder-0.5b").path
    assert installed is not None
    (models / "coder-0.5b").symlink_to(installed)
    return machine


def _lent_packages(folder: Path) -> Path:
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not _OURS.match(entry.name):
            (folder / entry.name).symlink_to(entry)
    return folder


def _copy_checkout(clone: Path) -> None:
    """What a clone would have, with the changes that are not committed yet."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
