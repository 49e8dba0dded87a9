"""Text out of package archives and folders, by language, for counting tokens.

Owns: opening wheels, npm tarballs, crates and Debian packages as archives (nothing in them is ever run or unpacked to
disk), and choosing readable hand-written files. It does not know tokens. The result depends on the archives' contents
and the order of their names only.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

LANGUAGES = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".vue": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".tsx": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".c": "c",
    ".h": "c",
    ".cc": "c++",
    ".cpp": "c++",
    ".hpp": "c++",
    ".java": "java",
    ".kt": "java",
    ".md": "prose",
    ".rst": "prose",
    ".markdown": "prose",
    ".txt": "prose",
    ".html": "markup",
    ".css": "markup",
    ".json": "data",
    ".toml": "data",
    ".yaml": "data",
    ".yml": "data",
    ".sh": "shell",
    ".mk": "shell",
    ".cmake": "shell",
    ".sql": "data",
}
_PROSE_NAMES = ("readme", "changelog", "changes", "history", "news", "metadata", "authors", "makefile")
_MAX_FILE_BYTES = 300_000
_MAX_FOREIGN = 0.03
_MAX_MEAN_LINE = 160  # generated and minified files have longer lines than people write
# One archive gives at most this fraction of a language's budget, spread over its folders, so that no project's own
# words decide what is kept.
_ARCHIVE_SHARE = 24


def read_texts(paths: Iterable[Path], max_bytes: int) -> dict[str, list[str]]:
    """Up to `max_bytes` of text per language; one archive gives at most 1/24 of that."""
    texts: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for path in sorted(_archives(paths), key=lambda path: path.name):
        from_archive: dict[str, int] = {}
        for name, raw in _members(path):
            language = _language(name)
            if language is None:
                continue
            size = len(raw)
            taken = from_archive.get(language, 0)
            if sizes.get(language, 0) + size > max_bytes or taken + size > max_bytes // _ARCHIVE_SHARE:
                continue
            text = _readable(raw)
            if text is None:
                continue
            texts.setdefault(language, []).append(text)
            from_archive[language] = taken + size
            sizes[language] = sizes.get(language, 0) + size
    return texts


def _archives(paths: Iterable[Path]) -> Iterator[Path]:
    """The archives in the folders named; a folder without any is taken as one source tree."""
    for path in paths:
        found = sorted(file for file in path.iterdir() if _is_archive(file)) if path.is_dir() else [path]
        yield from found or [path]


def _is_archive(path: Path) -> bool:
    return path.name.endswith((".whl", ".zip", ".tgz", ".tar.gz", ".crate", ".deb"))


def _language(name: str) -> str | None:
    path = PurePosixPath(name)
    if ".min." in path.name or path.name in ("package-lock.json", "RECORD"):
        return None
    language = LANGUAGES.get(path.suffix.lower())
    if language is None and path.name.lower().partition(".")[0] in _PROSE_NAMES:
        return "prose"
    return language


def _readable(raw: bytes) -> str | None:
    if b"\0" in raw or not raw:
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    is_dense = len(text) > _MAX_MEAN_LINE * (text.count("\n") + 1)
    # Mostly translations: their words would push out those of code and English.
    is_foreign = sum(char > "\x7f" for char in text) > _MAX_FOREIGN * len(text)
    return None if is_dense or is_foreign else text


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the small files of an archive or folder, in an order that mixes its folders."""
    return iter(sorted(_small_files(path), key=lambda member: (zlib.crc32(member[0].encode()), member[0])))


def _small_files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file() and not file.is_symlink() and file.stat().st_size <= _MAX_FILE_BYTES:
                yield file.relative_to(path).as_posix(), file.read_bytes()
    elif path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir() and info.file_size <= _MAX_FILE_BYTES:
                    yield info.filename, archive.read(info)
    else:
        raw = _deb_data(path) if path.suffix == ".deb" else path.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            found = {
                member.name: stream.read()
                for member in tar
                if member.isfile() and member.size <= _MAX_FILE_BYTES and (stream := tar.extractfile(member))
            }
        yield from found.items()


def _deb_data(path: Path) -> bytes:
    """The data tarball of a Debian package (an `ar` archive: 60-byte member headers, even-aligned)."""
    raw = path.read_bytes()
    at = 8
    while at + 60 <= len(raw):
        name = raw[at : at + 16].decode("ascii").strip()
        size = int(raw[at + 48 : at + 58])
        if name.startswith("data.tar"):
            return raw[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise ValueError(f"{path} has no data.tar")
