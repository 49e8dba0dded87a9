"""README.md's first chapter on a clean machine: its commands, its configuration, its keys, the default model.

The page itself is the script: commands, configuration and keys are read from it, so they cannot drift from what works.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedls.syntax import parse
from tests.editors.clean_machine import CleanMachine, block_after, clean_machine, table_row
from tests.editors.neovim.process import neovim_program, running
from tests.editors.vscode.code_server import launcher, missing, vsix, workbench
from tests.support.lsp_client import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.model, pytest.mark.timeout(1200)]
CODE = "# 漢👋 café\ndef add(a, b):\n    \n\n\nprint(add(1, 2))\n"
BODY = "return a + b"
WAIT_S = 240.0
"""A first start converts weights, and two cores may be busy with other work."""
PREVIEWED = {"action": "preview", "shown": "preview"}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanMachine]:
    """Nothing of seedls on it yet."""
    machine = clean_machine(tmp_path_factory.mktemp("clean"))
    yield machine
    shutil.rmtree(machine.home / ".cache" / "seedls" / "packed", ignore_errors=True)  # half a gigabyte


@pytest.fixture(scope="module")
def terminal(machine: CleanMachine) -> dict[str, str]:
    """The environment of a terminal in which the page's commands were typed, word for word."""
    printed, environment = machine.terminal(block_after("In a clone"), timeout_s=900)
    assert f"coder-0.5b is installed in {machine.home}" in printed
    assert re.search(r"asked for +coder-0.5b\n +installed +coder-0.5b\n", printed)  # the doctor's report
    return environment


@pytest.fixture
def file(machine: CleanMachine, request: pytest.FixtureRequest) -> Path:
    """A source file of the user's."""
    folder = machine.home / str(request.node.name) / "work"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text(CODE, encoding="utf-8")
    return folder / "a.py"


def check(file: Path) -> None:
    """It is completed and refactored, and still what it was around that."""
    text = file.read_text(encoding="utf-8")
    assert BODY in text
    assert "def add(a: " in text
    assert text.startswith("# 漢👋 café\ndef add(")
    assert text.endswith("\n\n\nprint(add(1, 2))\n")
    tree = parse("python", text)
    assert tree is not None
    assert tree.count_errors() == 0


def test_neovim(machine: CleanMachine, terminal: dict[str, str], file: Path) -> None:
    neovim_program()
    init = machine.home / ".config" / "nvim" / "init.lua"
    init.parent.mkdir(parents=True)
    init.write_text(block_after("**Neovim**", "lua"), encoding="utf-8")
    keys = {what: table_row(what)[1] for what in ("ask for it", "refactor, in your own words")}
    take = table_row("take the ghost text that comes while you type")[1]
    apply = table_row("take the change that is shown, or leave it")[1]
    with running([str(file)], file.parent, terminal, timeout_s=WAIT_S) as editor:
        editor.until_lua("require('seedls').known().state == 'ready'")
        editor.keys(f"3GA{keys['ask for it']}")
        editor.until_shown(BODY)
        assert editor.lines()[2].strip() == ""  # shown, not inserted
        editor.keys(f"{take}<Esc>")
        editor.until(lambda: editor.lines()[2].strip() == BODY)
        editor.keys(f"{keys['refactor, in your own words']}<CR>")
        editor.until_shown("def add(a: ")
        editor.until_lua("require('seedls').statusline() == 'seedls'")
        assert editor.lines()[1] == "def add(a, b):"
        editor.keys(f"{apply}:w<CR>")
        editor.until(lambda: "def add(a: " in file.read_text(encoding="utf-8"))
    check(file)


@pytest.fixture
def code(machine: CleanMachine, file: Path) -> CleanMachine:
    """The machine with a `code` on it, and the package where `make editors` of the page leaves it."""
    if reason := missing():
        pytest.skip(reason)
    package = vsix()
    place = machine.clone / package.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(package.read_bytes())
    machine.program("code", *launcher(file.parent.parent))
    return machine


def _commands() -> tuple[str, str]:
    build, install = block_after("**VS Code**").strip().splitlines()
    return build.split("#")[0].strip(), install


def _steps() -> list[dict[str, object]]:
    """From an open file to a saved one; palette entries and keys are the page's."""
    complete = table_row("ask for it")[0]
    apply = table_row("take the change that is shown, or leave it")[0]
    take = table_row("take the ghost text that comes while you type")[0]
    words = table_row("refactor, in your own words")[1].removeprefix(":Seedls refactor ")
    return [
        {"action": "status", "matches": "seedls: ready"},
        {"action": "goTo", "place": "3:5"},
        {"action": "command", "name": complete},
        {"action": "ghost", "shown": "ghost"},
        {"action": "press", "key": take},
        {"action": "untilBuffer", "contains": BODY},
        {"action": "refactor", "from": 2, "to": 3, "instruction": words},
        {"action": "status", "matches": "seedls: ready"},
        PREVIEWED,
        {"action": "press", "key": apply.replace("Ctrl", "Control")},
        {"action": "previewClosed"},
        {"action": "untilBuffer", "contains": "def add(a: "},
        {"action": "save"},
    ]


def test_vs_code(code: CleanMachine, terminal: dict[str, str], file: Path) -> None:
    build, install = _commands()
    assert build == "make editors"  # done before: it fetches Node packages, which no test may
    code.terminal(install, timeout_s=300)
    with workbench(file.parent.parent, None, environment=terminal) as editor:
        assert "seedls" not in " ".join(editor.user_settings())
        editor.drive([{"action": "open", "file": "a.py"}, *_steps()], timeout_s=WAIT_S)
    check(file)


def test_vs_code_installs_the_server_itself(code: CleanMachine, file: Path) -> None:
    """What the page says of a machine without `seedls` on the PATH: the wheel in the extension, really installed."""
    code.terminal(_commands()[1], timeout_s=300)
    environment = {**code.environment, "PATH": str(code.bin)}
    begin = [
        {"action": "open", "file": "a.py"},
        {"action": "status", "matches": "not found"},
        {"action": "command", "name": "seedls: Install or Update the Server"},
    ]
    with workbench(file.parent.parent, None, environment=environment) as editor:
        editor.drive([*begin, *_steps()], timeout_s=WAIT_S)
        programs = list((file.parent.parent / "user").rglob("server/bin/seedls"))
    assert len(programs) == 1
    check(file)
