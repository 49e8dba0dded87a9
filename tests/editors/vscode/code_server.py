"""VS Code served to a headless browser: finds the tools, runs one server for a folder, drives it by a list of steps.

Owns the processes and where the tools lie (`.tools/`, made by `install_tools.py`). Knows nothing of what tests expect.
"""

from __future__ import annotations

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
DIST = ROOT / "editors" / "vscode" / "dist"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_START_S = 120.0
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


def vsix() -> Path | None:
    """The newest package made by `make editors`."""
    return max(DIST.glob("*.vsix"), key=lambda path: path.stat().st_mtime, default=None)


def missing() -> str | None:
    """What is not there and how to get it, or None."""
    if not (NODE.exists() and ENTRY.exists() and (PLAYWRIGHT / "node_modules").exists()):
        return "no VS Code to drive (python tests/editors/vscode/install_tools.py)"
    if browser() is None:
        return "no Chromium on the PATH (apt-get install chromium)"
    return None if vsix() else "the extension is not packaged (make editors)"


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
        logs = sorted((self.folder / "user").rglob("*seedls*.log"))
        return logs[-1].read_text("utf-8", errors="replace")[-2000:] if logs else "no log of the extension"


def server_program(folder: Path, *command: str) -> Path:
    """A program that runs `python -m COMMAND` whatever its arguments are, and notes its process id in server.pid."""
    program = folder / "seedls"
    lines = ["#!/bin/sh", f"echo $$ > {shlex.quote(str(folder / 'server.pid'))}"]
    lines += [f"export PYTHONPATH={shlex.quote(str(ROOT))}", f"exec {shlex.join([sys.executable, '-m', *command])}"]
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@contextmanager
def workbench(
    folder: Path, server_program: Path | None, *, search_path: str = "", **settings: Any
) -> Iterator[Workbench]:
    """VS Code with the packaged extension, whose server is `server_program`; `search_path` replaces the PATH."""
    (folder / "work").mkdir(exist_ok=True)
    user = folder / "user" / "User"
    user.mkdir(parents=True)
    chosen = {**_SETTINGS, "seedls.server.path": str(server_program or ""), **settings}
    (user / "settings.json").write_text(json.dumps(chosen), encoding="utf-8")
    port = _free_port()
    (folder / "config.yaml").write_text(f"bind-addr: 127.0.0.1:{port}\nauth: none\ncert: false\n", encoding="utf-8")
    command = [str(NODE), str(ENTRY), "--config", str(folder / "config.yaml"), "--user-data-dir", str(folder / "user")]
    command += ["--extensions-dir", str(folder / "extensions")]
    package = vsix()
    assert package is not None
    subprocess.run([*command, "--install-extension", str(package)], check=True, capture_output=True, timeout=300)
    command += ["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"]
    with (folder / "code-server.log").open("wb") as log:
        environment = {**os.environ, "PATH": search_path or os.environ.get("PATH", "")}
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
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
