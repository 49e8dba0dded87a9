from __future__ import annotations

import builtins
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedls.workspace import Workspace
from tests.seedls.test_workspace_files import make


def _until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "timed out"
        time.sleep(0.01)


@pytest.fixture
def workspaces() -> Iterator[list[Workspace]]:
    """Whatever a test starts is stopped, and its thread ends soon."""
    started: list[Workspace] = []
    yield started
    for workspace in started:
        workspace.stop()
    _until(lambda: not [thread for thread in threading.enumerate() if thread.name == "seedls-workspace"])


def _started(root: Path, workspaces: list[Workspace], on_settings: Callable[[], None] = lambda: None) -> Workspace:
    workspace = Workspace(lambda path: path.endswith("/excluded.py"), on_settings)
    workspaces.append(workspace)
    workspace.start([str(root), str(root / "gone")])
    assert workspace.wait_until_filled(10)
    return workspace


def test_the_folder_is_read_and_what_must_not_enter_does_not(tmp_path: Path, workspaces: list[Workspace]) -> None:
    make(
        tmp_path,
        {
            "a.py": "def f():\n    pass\n",
            "windows.py": "x = 1\r\n",
            "excluded.py": "x = 1\n",
            "binary.py": "\0",
            "key.py": "KEY = '''-----BEGIN RSA PRIVATE KEY-----'''\n",
        },
    )
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    assert _started(tmp_path, workspaces).index.paths() == {"a.py", "windows.py"}


def test_changes_on_the_disk_are_followed(tmp_path: Path, workspaces: list[Workspace]) -> None:
    make(tmp_path, {"a.py": "x = 1\n", "b.py": "x = 1\n"})
    settings_changed = threading.Event()
    workspace = _started(tmp_path, workspaces, settings_changed.set)
    _until(lambda: workspace.is_watching)
    time.sleep(0.2)  # the operating system's watch begins a moment after
    (tmp_path / "c.py").write_text("x = 1\n")
    (tmp_path / "a.py").unlink()
    _until(lambda: workspace.index.paths() == {"b.py", "c.py"})
    make(tmp_path, {"new/d.py": "x = 1\n"})
    _until(lambda: "new/d.py" in workspace.index.paths())
    (tmp_path / "seedls.toml").write_text("model = 'a'\n")
    assert settings_changed.wait(10)
    (tmp_path / ".gitignore").write_text("b.py\n")
    _until(lambda: workspace.index.paths() == {"c.py", "new/d.py"})


def test_without_watchfiles_files_are_read_when_they_are_saved(
    tmp_path: Path, workspaces: list[Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name == "watchfiles":
            raise ImportError(name)
        return original(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "watchfiles", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    make(tmp_path, {"a.py": "x = 1\n"})
    workspace = _started(tmp_path, workspaces)
    make(tmp_path, {"b.py": "x = 1\n", "excluded.py": "x"})
    for name in ("b.py", "excluded.py", "../outside.py"):
        workspace.refresh(tmp_path / name)
    assert workspace.index.paths() == {"a.py", "b.py"}
    assert not workspace.is_watching
    (tmp_path / "b.py").unlink()
    workspace.refresh(tmp_path / "b.py")
    assert workspace.index.paths() == {"a.py"}


def test_without_indexing_settings_files_are_watched_and_no_other_is_read(
    tmp_path: Path, workspaces: list[Workspace]
) -> None:
    make(tmp_path, {"a.py": "x = 1\n"})
    settings_changed = threading.Event()
    workspace = Workspace(lambda path: False, settings_changed.set)
    workspaces.append(workspace)
    workspace.start([str(tmp_path)], is_indexing=False)
    _until(lambda: workspace.is_watching)
    time.sleep(0.2)
    make(tmp_path, {"a.py": "x = 2\n", "b.py": "x = 1\n"})
    workspace.refresh(tmp_path / "a.py")
    make(tmp_path, {"pyproject.toml": "[tool.seedls]\n"})
    assert settings_changed.wait(10)
    assert (workspace.num_read, workspace.index.paths()) == (0, set())


def test_a_log_in_the_folder_does_not_feed_itself(tmp_path: Path, workspaces: list[Workspace]) -> None:
    """The watching library reports each change it sees to the log, which would be the next change."""
    make(tmp_path, {"a.py": "x = 1\n"})
    handler = logging.FileHandler(tmp_path / "server.log", encoding="utf-8")
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)  # as `seedls serve --log` does
    try:
        workspace = _started(tmp_path, workspaces)
        _until(lambda: workspace.is_watching)
        time.sleep(0.3)
        logging.getLogger("seedls").info("a line")
        (tmp_path / "b.py").write_text("x = 1\n")
        _until(lambda: "b.py" in workspace.index.paths())
        time.sleep(1.5)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
    lines = (tmp_path / "server.log").read_text(encoding="utf-8").splitlines()
    assert "a line" in lines
    assert not [line for line in lines if "detected" in line]
    assert len(lines) <= 3


def test_without_folders_there_is_no_thread(tmp_path: Path) -> None:
    workspace = Workspace(lambda path: False, lambda: None)
    workspace.start([str(tmp_path / "gone")])
    assert not [thread for thread in threading.enumerate() if thread.name == "seedls-workspace"]
