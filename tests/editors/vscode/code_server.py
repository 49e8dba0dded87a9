"""VS Code served to a headless browser: finds the tools, runs one server for a folder, drives it by a list of steps.

Owns the processes and where the tools lie (`.tools/`, made by `install_tools.py`). Knows nothing of what tests expect.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.lsp_client import ROOT

TOOLS = ROOT / ".tools"
NODE = TOOLS / "bin" / "node"
ENTRY = TOOLS / "code-server" / "node_modules" / "code-server" / "out" / "node" / "entry.js"
PLAYWRIGHT = TOOLS / "playwright"
DRIVER = Path(__file__).parent / "driver.mjs"
EXTENSION = ROOT / "editors" / "vscode"
DIST = EXTENSION / "dist"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_START_S = 120.0
_INSTALL_S = 300.0
_SETTINGS = {
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.tips.enabled": False,
    "chat.disableAIFeatures": True,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},  # no list over the ghost text
    "editor.minimap.enabled": False,
    "files.autoSave": "off",
    "extensions.autoCheckUpdates": False,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
}


def browser() -> str | None:
    """A Chromium on the PATH."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def vsix() -> Path:
    """The package made by `make editors`; AssertionError when it is of other sources than these."""
    spec = importlib.util.spec_from_file_location("sources", EXTENSION / "scripts" / "sources.py")
    assert spec is not None and spec.loader is not None
    sources = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sources)
    assert sources.is_current(), "the packaged extension is not of these sources: make editors"
    return max(DIST.glob("*.vsix"), key=lambda path: path.stat().st_mtime)


def missing() -> str | None:
    """What is not there and how to get it, or None."""
    if not (NODE.exists() and ENTRY.exists() and (PLAYWRIGHT / "node_modules").exists()):
        return "no VS Code to drive (python tests/editors/vscode/install_tools.py)"
    if browser() is None:
        return "no Chromium on the PATH (apt-get install chromium)"
    return None if list(DIST.glob("*.vsix")) else "the extension is not packaged (make editors)"


@dataclass(frozen=True, slots=True)
class Workbench:
    """A running VS Code on one folder."""

    url: str
    folder: Path
    """Where it keeps everything; `work` below it is the folder opened."""

    @property
    def work(self) -> Path:
        """The opened folder."""
        return self.folder / "work"

    def user_settings(self) -> dict[str, Any]:
        """What the settings file holds now."""
        found: dict[str, Any] = json.loads((self.folder / "user" / "User" / "settings.json").read_text("utf-8"))
        return found

    def drive(
        self, steps: Sequence[Mapping[str, Any]], timeout_s: float = 90.0, viewport: tuple[int, int] = (1100, 640)
    ) -> dict[str, list[Any]]:
        """Do the steps in a new browser; results by action, in order. AssertionError with the reason when one fails."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        plan = {
            "steps": list(steps),
            "url": self.url,
            "browser": browser(),
            "playwright": str(PLAYWRIGHT),
            "report": str(report),
            "screenshots": str(self.folder),
            "timeout_ms": int(timeout_s * 1000),
            "viewport": {"width": viewport[0], "height": viewport[1]},
        }
        (self.folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        command = [str(NODE), str(DRIVER), str(self.folder / "plan.json")]
        limit = timeout_s * 6 + 60
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        assert report.exists(), done.stderr
        seen = json.loads(report.read_text(encoding="utf-8"))
        assert not seen["problem"], (seen["problem"], seen.get("toasts"), self.log_tail())
        results: dict[str, list[Any]] = {}
        for step in seen["steps"]:
            results.setdefault(step["action"], []).append(step["result"])
        return results

    def log_tail(self) -> str:
        """The extension's own log, for the message of a failed test."""
        logs = sorted((self.folder / "user").rglob("seedls.seedls/*.log"))
        return logs[-1].read_text("utf-8", errors="replace")[-2000:] if logs else "no log of the extension"


def server_program(folder: Path, *command: str) -> Path:
    """A program that runs `python -m COMMAND` whatever its arguments are, and notes its process id in server.pid."""
    program = folder / "seedls"
    lines = ["#!/bin/sh", f"echo $$ > {shlex.quote(str(folder / 'server.pid'))}"]
    lines += [f"export PYTHONPATH={shlex.quote(str(ROOT))}", f"exec {shlex.join([sys.executable, '-m', *command])}"]
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program.chmod(0o755)
    return program


def launcher(folder: Path) -> list[str]:
    """The command that starts VS Code, or asks it something, with everything it keeps below `folder`."""
    places = {"--config": "config.yaml", "--user-data-dir": "user", "--extensions-dir": "extensions"}
    return [str(NODE), str(ENTRY), *(word for name, place in places.items() for word in (name, str(folder / place)))]


@contextmanager
def workbench(
    folder: Path, server_program: Path | None, *, environment: Mapping[str, str] | None = None, **settings: Any
) -> Iterator[Workbench]:
    """VS Code on `folder`/work with the packaged extension; without `server_program` it looks for the server itself.

    `environment` replaces the one of this process. An extension that is below `folder` already is kept.
    """
    (folder / "work").mkdir(exist_ok=True)
    user = folder / "user" / "User"
    user.mkdir(parents=True, exist_ok=True)
    chosen = {**_SETTINGS, **({"seedls.server.path": str(server_program)} if server_program else {}), **settings}
    (user / "settings.json").write_text(json.dumps(chosen), encoding="utf-8")
    port = _free_port()
    (folder / "config.yaml").write_text(f"bind-addr: 127.0.0.1:{port}\nauth: none\ncert: false\n", encoding="utf-8")
    if not list((folder / "extensions").glob("seedls.*")):
        install = [*launcher(folder), "--install-extension", str(vsix())]
        subprocess.run(install, check=True, capture_output=True, timeout=_INSTALL_S)
    quiet = ["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"]
    with (folder / "code-server.log").open("wb") as log:
        process = subprocess.Popen(
            [*launcher(folder), *quiet],
            stdout=log,
            stderr=log,
            start_new_session=True,
            # What `code` sets in a terminal: without it a login shell's variables replace these.
            env={**(os.environ if environment is None else environment), "VSCODE_CLI": "1"},
        )
        try:
            _wait_for(port, process)
            yield Workbench(f"http://127.0.0.1:{port}/?folder={quote(str(folder / 'work'))}", folder)
        finally:
            # The whole group: a plain kill leaves one extension host for every page that was opened.
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            _kill_group(process.pid)
            process.wait()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + _START_S
    while time.monotonic() < limit:
        assert process.poll() is None, "code-server ended; see code-server.log"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"code-server did not listen within {_START_S} s")
