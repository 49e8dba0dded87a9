"""The index of the workspace folders, filled and kept fresh by one thread of its own.

Owns that thread: it reads the files, then waits for changes (through `watchfiles` where it is installed) and reads what
changed. The event loop only asks. Nothing is written. It does not know documents or the protocol.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from seedls.snippet_index import SnippetIndex, index_file
from seedls.workspace_files import IsExcluded, SourceFile, list_workspace, source_file

_log = logging.getLogger("seedls")
_WAKE_MS = 300
"""How often the waiting thread looks whether it should end."""
_BREATH_S = 0.001
_KEY_MARK = "PRIVATE KEY-----"
SETTINGS_FILES = ("seedls.toml", "pyproject.toml")


class Workspace:
    """The workspace folders' index. `start` and `stop` belong to the event loop; the rest happens on the thread."""

    def __init__(self, is_excluded: IsExcluded, on_settings_file: Callable[[], None]) -> None:
        self.index = SnippetIndex()
        self.is_watching = False
        """Whether changes on the disk are seen by themselves."""
        self.num_read = 0
        """Files read so far."""
        self._is_excluded = is_excluded
        self._on_settings_file = on_settings_file
        self._roots: list[Path] = []
        self._is_indexing = False
        self._folders: dict[Path, Path] = {}
        """Entered folder -> the root it belongs to."""
        self._stamps: dict[Path, tuple[int, int]] = {}
        """File that was read -> time and size then."""
        self._settings_stamps: list[tuple[int, int]] = []
        self._stopping = threading.Event()
        self._filled = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, roots: Sequence[str], *, is_indexing: bool = True) -> None:
        """Begin to read and watch the folders that exist; does nothing without any.

        Without `is_indexing` only settings files are watched, and no other file is ever read.
        """
        self._roots = [path for path in map(Path, roots) if path.is_dir()]
        if not self._roots or self._thread is not None:
            return
        self._is_indexing = is_indexing
        self._settings_stamps = self._stamps_of_settings()
        self._thread = threading.Thread(target=self._run, name="seedls-workspace", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon; does not wait for it."""
        self._stopping.set()

    def wait_until_filled(self, seconds: float) -> bool:
        """For commands and tests: block until every file was read once."""
        return self._filled.wait(seconds)

    def refresh(self, path: Path) -> None:
        """Read one file again, or forget it when it is gone or not wanted any more."""
        root = next((root for root in self._roots if path.is_relative_to(root)), None)
        if root is None or not self._is_indexing:
            return
        found = source_file(root, path, self._is_excluded)
        if found is None:
            self._stamps.pop(path, None)
            self.index.remove(path.relative_to(root).as_posix())
        else:
            self._read(found)

    def _run(self) -> None:
        try:
            for root in self._roots:
                self._fill(root)
            self._filled.set()
            while not self._stopping.is_set() and self._watch():
                pass
        except Exception as error:  # the server lives on without context
            self.is_watching = False
            _log.error("reading the workspace failed: %s", type(error).__name__)
        finally:
            self._filled.set()

    def _fill(self, root: Path) -> None:
        """Read what is new or changed under a root, forget what is gone."""
        if not self._is_indexing:
            self._folders[root] = root
            return
        started, read_before = time.monotonic(), self.num_read
        listing = list_workspace(root, self._is_excluded)
        self._folders = {folder: owner for folder, owner in self._folders.items() if owner != root}
        self._folders.update(dict.fromkeys(listing.folders, root))
        found = {file.path for file in listing.files}
        for path in [path for path in self._stamps if path.is_relative_to(root) and path not in found]:
            del self._stamps[path]
            self.index.remove(path.relative_to(root).as_posix())
        for file in listing.files:
            if self._stamps.get(file.path) != _stamp(file.path):
                self._read(file)
                if self._stopping.wait(_BREATH_S):  # the event loop wants the interpreter too
                    return
        if self.num_read > read_before:
            _log.info("workspace: %d files read in %.1f s", self.num_read - read_before, time.monotonic() - started)

    def _read(self, file: SourceFile) -> None:
        self._stamps[file.path] = _stamp(file.path)
        try:
            text = file.path.read_text(encoding="utf-8", errors="strict")
        except (OSError, UnicodeDecodeError):
            self.index.remove(file.shown)
            return
        self.num_read += 1
        if "\0" in text or _KEY_MARK in text:
            self.index.remove(file.shown)
        else:
            self.index.put(index_file(file.shown, file.language, text))

    def _watch(self) -> bool:
        """Wait for changes until the folders are others (then true) or the end (false)."""
        try:
            from watchfiles import Change, watch
        except ImportError:
            _log.warning(
                "watchfiles is not installed: files changed by other programs are seen when they are saved here"
            )
            return False
        # It notes every change it sees: in a log that lies in the folder, that would be the next change.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        self.is_watching = True
        is_first = True
        # Folder by folder: a recursive watch would also cover what is ignored, such as node_modules.
        for changes in watch(
            *self._folders,
            recursive=False,
            watch_filter=None,
            stop_event=self._stopping,
            rust_timeout=_WAKE_MS,
            yield_on_timeout=True,
        ):
            self._look_at_settings_files()
            if is_first:  # what changed before the watch began
                is_first = False
                for root in self._roots:
                    self._fill(root)
            for _, name in changes:
                if Path(name).parent in self._folders:
                    self.refresh(Path(name))
            if self._is_indexing and any(
                (kind == Change.added and Path(name).is_dir()) or Path(name).name == ".gitignore"
                for kind, name in changes
            ):
                for root in self._roots:
                    self._fill(root)
                return True
        return False

    def _look_at_settings_files(self) -> None:
        stamps = self._stamps_of_settings()
        if stamps != self._settings_stamps:
            self._settings_stamps = stamps
            self._on_settings_file()

    def _stamps_of_settings(self) -> list[tuple[int, int]]:
        return [_stamp(root / name) for root in self._roots for name in SETTINGS_FILES]


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when the file does; (0, 0) when it is not there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
