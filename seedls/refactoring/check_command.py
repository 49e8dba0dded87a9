"""The user's own check, run without a shell after each file. Owns the process and its output; knows no files of a run.

Checks run one at a time: they look at the whole tree, so only then a failure says which file is to blame.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 2.0
_TAIL_BYTES = 4000


class CheckStopped(Exception):
    """`stop` was called while the check ran."""


class CheckCommand:
    """A command line in the folder the user is in."""

    def __init__(self, words: list[str], timeout: float, output_folder: Path) -> None:
        self._words = words
        self._timeout = timeout
        self._output_folder = output_folder
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End a running check soon, and refuse new ones; may be called from any thread."""
        self._stopping.set()

    def failure(self, name: str) -> str | None:
        """Run it: None when it ends with 0, else one line that says how it ended and where its output is.

        Raises CheckStopped after `stop`.
        """
        self._output_folder.mkdir(mode=0o700, exist_ok=True)
        output = self._output_folder / f"{name}.txt"
        with output.open("wb") as stream:
            if self._stopping.is_set():
                raise CheckStopped
            try:
                process = subprocess.Popen(
                    self._words,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return f"the check could not be started ({error.strerror or error}: {self._words[0]!r})"
            try:
                code = self._wait(process)
            except BaseException:
                _end(process)
                raise
        if code == 0:
            return None
        how = f"ran longer than {self._timeout:g} s" if code is None else f"ended with {code}"
        return f"the check {how}: {_last_line(output)} (output: {output})"

    def _wait(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit code, None after the timeout."""
        waited = 0.0
        while True:
            try:
                return process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                waited += _POLL_SECONDS
            if self._stopping.is_set():
                raise CheckStopped
            if waited >= self._timeout:
                _end(process)
                return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the check and what it started."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            if os.name == "posix":
                os.killpg(process.pid, number)
            else:
                process.terminate()
        except (ProcessLookupError, PermissionError):
            pass  # it ended by itself, or its group is no longer ours: the wait below tells
        try:
            process.wait(_GRACE_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue


def _last_line(output: Path) -> str:
    with output.open("rb") as stream:
        stream.seek(max(0, output.stat().st_size - _TAIL_BYTES))
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines()]
    return next((line[:200] for line in reversed(lines) if line), "no output")
