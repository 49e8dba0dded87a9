"""One digest of everything that `make editors` packages from this folder: tells whether a package is current.

The server's wheel inside is not part of it: the server is tested by itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
STAMP = FOLDER / "dist" / "built_from.txt"
_PACKAGED = ("src/*.ts", "package.json", "package-lock.json", "README.md", "images/*.png", "walkthrough/*.md")


def source_digest() -> str:
    """Of names and contents, in the order of names."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _PACKAGED for path in FOLDER.glob(pattern)):
        digest.update(f"{path.relative_to(FOLDER).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_current() -> bool:
    """Whether the last package was made from the sources as they are now."""
    return STAMP.exists() and STAMP.read_text(encoding="utf-8").strip() == source_digest()
