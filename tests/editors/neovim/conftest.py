"""A Neovim with the plugin and a server that plays a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.editors.neovim.process import Neovim, neovim, server_command, with_plugin
from tests.support.fake_engine import Script

Start = Callable[..., AbstractContextManager[Neovim]]


@dataclass(frozen=True)
class Shared:
    """One editor and one server for the tests that need no options of their own: starting both takes a second."""

    editor: Neovim
    script: Path


def _init(script: Path, options: str = "", before: str = "") -> str:
    command = server_command("tests.support.fake_server", str(script))
    return with_plugin(f"{before}\nrequire('seedls').setup({{ cmd = {command}, {options} }})")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("neovim")
    script = folder / "script.json"
    script.write_text(Script().to_json(), encoding="utf-8")
    with neovim(folder, _init(script), []) as editor:
        yield Shared(editor, script)


@pytest.fixture
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    """`start(script, text)` opens a.py with `text` and waits until the model is ready; with `options` or `before`
    (Lua) in an editor of its own."""

    @contextmanager
    def started(script: Script, text: str, options: str = "", before: str = "") -> Iterator[Neovim]:
        file = tmp_path / "a.py"
        file.write_bytes(text.encode())
        with ExitStack() as stack:
            if options or before:
                plan = tmp_path / "script.json"
                plan.write_text(script.to_json(), encoding="utf-8")
                editor = stack.enter_context(neovim(tmp_path, _init(plan, options, before), [file]))
            else:
                shared: Shared = request.getfixturevalue("shared")
                shared.script.write_text(script.to_json(), encoding="utf-8")
                editor = shared.editor
                _open_alone(editor, file)
            editor.until_lua("#vim.lsp.get_clients({ name = 'seedls', bufnr = 0 }) == 1")
            editor.until_lua("require('seedls').known().state == 'ready'")
            yield editor

    return started


def _open_alone(editor: Neovim, file: Path) -> None:
    """Forget everything that an earlier test left behind."""
    editor.keys("<C-Bslash><C-n><CR>")
    editor.lua("vim.cmd('silent! %bwipeout!') vim.cmd('silent! only') vim.diagnostic.reset() vim.cmd('messages clear')")
    editor.lua("vim.cmd.cd(...)", str(file.parent))
    editor.lua("vim.cmd.edit(...)", str(file))
