"""Bytes on disk: contents kept by digest, and files replaced in one step. Knows no journal and no model."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

from seedls.refactoring.journal import sync_folder


class FileChanged(Exception):
    """A file is not what it was when the run looked at it; the message says how."""


def digest_of(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class ContentStore:
    """Whole contents under their digest: the originals, and what is to replace them. Nothing is ever removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path_of(self, digest: str) -> Path:
        """Where a content is, or would be."""
        return self._folder / digest

    def put(self, content: bytes) -> str:
        """Keep `content` and return its digest; on disk when this returns. Raises OSError."""
        digest = digest_of(content)
        target = self.path_of(digest)
        if not (target.exists() and target.read_bytes() == content):
            temporary = target.with_suffix(".tmp")
            _write_new(temporary, content, 0o600)
            temporary.replace(target)
            sync_folder(self._folder)
        return digest

    def get(self, digest: str) -> bytes:
        """A kept content; raises FileChanged when it is missing or damaged."""
        try:
            content = self.path_of(digest).read_bytes()
        except OSError as error:
            raise FileChanged(f"the kept copy {self.path_of(digest)} cannot be read ({error.strerror})") from None
        if digest_of(content) != digest:
            raise FileChanged(f"the kept copy {self.path_of(digest)} is damaged")
        return content


def current_digest(path: Path) -> str:
    """Digest of the file now; raises FileChanged when it is gone, a link, or not readable."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise FileChanged("it is no longer a regular file")
        return digest_of(path.read_bytes())
    except OSError as error:
        raise FileChanged(f"it cannot be read any more ({error.strerror or error})") from None


def temporary_for(path: Path, run_id: str) -> Path:
    """The one name that `replace_file` uses beside `path`, so that a later run can clear it away."""
    return path.with_name(f".{path.name[:120]}.seedls-{run_id}")


def replace_file(path: Path, content: bytes, expected: str, run_id: str) -> None:
    """Put `content` where the content with digest `expected` is, in one step, mode kept.

    The file is at every moment whole: old or new. Raises FileChanged when something else is there, OSError when the
    disk refuses; in both cases the file is untouched.
    """
    before = path.lstat()
    temporary = temporary_for(path, run_id)
    temporary.unlink(missing_ok=True)
    try:
        _write_new(temporary, content, stat.S_IMODE(before.st_mode))
        # Build tools and bytecode caches compare times by the second: never give two contents the same one.
        changed_at = max(time.time(), int(before.st_mtime) + 1)
        os.utime(temporary, (changed_at, changed_at))
        if current_digest(path) != expected:
            raise FileChanged("it changed on disk meanwhile")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    path.chmod(mode)
