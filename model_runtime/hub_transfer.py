"""One large file of the Hugging Face hub into one file here, going on where an earlier call stopped.

Uses the official client's transfer function and not its download of whole files, which throws away what came when it is
stopped: gigabytes of a shard. Knows nothing of repositories, digests or installed models.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

Arrived = Callable[[int], None]
"""Told how many bytes of a file are here."""


def transfer(
    repository: str,
    name: str,
    part: Path,
    num_bytes: int,
    arrived: Arrived,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
) -> None:
    """Append to `part` what it lacks of `num_bytes`; the client's own errors, with what came kept in `part`."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, not in its __all__

    if part.is_file() and part.stat().st_size > num_bytes:
        part.unlink()
    url = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
    with _ArrivingFile(part, arrived) as out:
        http_get(url, out, resume_size=out.tell(), headers=build_hf_headers(), expected_size=num_bytes)


class _ArrivingFile(io.BufferedWriter):
    """A file that is appended to and tells how long it is."""

    def __init__(self, path: Path, arrived: Arrived) -> None:
        super().__init__(io.FileIO(path, "a"))
        self._arrived = arrived

    def write(self, data: Any) -> int:
        """As of every file."""
        written = super().write(data)
        self._arrived(self.tell())
        return written
