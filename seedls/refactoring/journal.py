"""The append-only journal of a run: one checked line an event, on disk before the next step is taken.

Owns the line format. A torn or damaged line is skipped and counted, never guessed at: the events are written so that
losing any of them makes a run repeat a harmless step, not a harmful one. It does not know what the events mean.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JournalContent:
    """The events of a journal in order, and how many lines were not readable."""

    events: tuple[Event, ...]
    num_damaged: int


class Journal:
    """An open journal; `append` may be called from several threads."""

    def __init__(self, path: Path) -> None:
        """Open or create; a last line that was torn by a crash is closed, so that it cannot swallow the next one."""
        self._lock = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        size = os.fstat(self._descriptor).st_size
        if size:
            os.lseek(self._descriptor, size - 1, os.SEEK_SET)
            if os.read(self._descriptor, 1) != b"\n":
                os.write(self._descriptor, b"\n")
        sync_folder(path.parent)

    def append(self, event: Event) -> None:
        """Write one event and wait until it is on disk; raises OSError."""
        line = encode_line(event)
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)

    def close(self) -> None:
        """The journal cannot be appended to afterwards."""
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encode_line(event: Event) -> bytes:
    """Checksum, space, JSON in ASCII, newline."""
    body = json.dumps(event, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_journal(path: Path) -> JournalContent:
    """Every whole line whose checksum fits; an absent file is an empty journal. Raises OSError when unreadable."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return JournalContent((), 0)
    events: list[Event] = []
    num_damaged = 0
    lines = raw.split(b"\n")
    for line in lines[:-1]:
        event = _decoded(line)
        if event is not None:
            events.append(event)
        elif line:
            num_damaged += 1
    return JournalContent(tuple(events), num_damaged + bool(lines[-1]))


def _decoded(line: bytes) -> Event | None:
    checksum, separator, body = line.partition(b" ")
    if not separator or checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def sync_folder(folder: Path) -> None:
    """Make a new or renamed entry of `folder` survive a power cut, where the platform can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
