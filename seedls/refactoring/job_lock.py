"""One process at a time works on one job. Owns the lock; the system frees it when the process dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seedls.commands.failure import CommandFailed


@contextmanager
def job_lock(home: Path, key: str) -> Iterator[None]:
    """Hold the job for the length of the block; raises CommandFailed when another process has it."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(home / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandFailed(f"cannot write under {home}: {error.strerror or error}") from None
    try:
        try:
            _lock(descriptor)
        except OSError:
            raise CommandFailed("the same refactoring is already running in another process") from None
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
