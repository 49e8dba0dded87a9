"""Which files of a workspace folder may be shown to the model as context: source code, not ignored, never secrets.

Owns the walk and its limits. It reads no file but `.gitignore`s, starts no program, and follows no link. It does not
know what the files say.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seedls.commands.languages import language_of
from seedls.refactoring.files import is_secret
from seedls.refactoring.ignore_rules import RuleFile, is_ignored, parse_rules

MAX_FILES = 4_000
MAX_FOLDERS = 2_000
MAX_FILE_BYTES = 200_000
"""Larger source files are data or generated."""

_NEVER_ENTERED = frozenset(
    {".git", ".hg", ".svn", "node_modules", "__pycache__", ".tox", ".nox", ".venv", "venv", "site-packages", "dist"}
)
_NOT_CODE = frozenset({"json", "toml", "yaml", "markdown", "html", "css"})

IsExcluded = Callable[[str], bool]
"""Whether the user's `exclude` setting names an absolute path (forward slashes)."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file worth reading."""

    path: Path
    shown: str
    """Relative to the workspace folder, forward slashes."""
    language: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder, and the folders that were entered."""

    files: tuple[SourceFile, ...]
    folders: tuple[Path, ...]


def list_workspace(root: Path, is_excluded: IsExcluded) -> Listing:
    """Walk a workspace folder, nearest files first; what cannot be read is left out."""
    files: list[SourceFile] = []
    folders: list[Path] = []
    waiting: list[tuple[Path, str, list[RuleFile]]] = [(root, "", _outer_rules(root))]
    for folder, shown, above in waiting:
        if len(folders) >= MAX_FOLDERS or len(files) >= MAX_FILES:
            break
        folders.append(folder)
        rules = [*above, *_rules_of(folder / ".gitignore", shown)]
        for entry in _entries(folder):
            if is_ignored(shown + entry.name, entry.is_dir(follow_symlinks=False), rules):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not _is_closed(entry):
                    waiting.append((Path(entry.path), f"{shown}{entry.name}/", rules))
            elif (source := _source_file(entry, shown, is_excluded)) is not None:
                files.append(source)
    return Listing(tuple(files[:MAX_FILES]), tuple(folders))


def source_file(root: Path, path: Path, is_excluded: IsExcluded) -> SourceFile | None:
    """One file by its path, if the walk would have found it."""
    if not path.is_relative_to(root):
        return None
    shown, rules = "", _outer_rules(root)
    for name in path.relative_to(root).parts[:-1]:
        rules += _rules_of(root / shown / ".gitignore", shown)
        is_closed = name in _NEVER_ENTERED or (root / shown / name / "pyvenv.cfg").exists()
        if is_closed or is_ignored(shown + name, True, rules):
            return None
        shown += name + "/"
    rules += _rules_of(root / shown / ".gitignore", shown)
    if is_ignored(shown + path.name, False, rules):
        return None
    for entry in _entries(path.parent):
        if entry.name == path.name:
            return _source_file(entry, shown, is_excluded)
    return None


def _source_file(entry: os.DirEntry[str], shown: str, is_excluded: IsExcluded) -> SourceFile | None:
    path = Path(entry.path)
    language = language_of(path)
    if language is None or language in _NOT_CODE or is_secret(path) or is_excluded(path.as_posix()):
        return None
    try:
        is_plain = entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size <= MAX_FILE_BYTES
    except OSError:
        return None
    return SourceFile(path, shown + entry.name, language) if is_plain else None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_closed(entry: os.DirEntry[str]) -> bool:
    return entry.name in _NEVER_ENTERED or Path(entry.path, "pyvenv.cfg").exists()


def _outer_rules(root: Path) -> list[RuleFile]:
    return _rules_of(root / ".git" / "info" / "exclude", "")


def _rules_of(path: Path, shown: str) -> list[RuleFile]:
    try:
        return [parse_rules(path.read_text(encoding="utf-8", errors="replace"), shown)]
    except OSError:
        return []
