"""Which files a refactoring may touch: found through git or by walking, never outside the given paths.

Owns the limits (size, kind, language, secrets). It reads no file that it leaves out, and it knows no model.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedls.commands.failure import CommandFailed
from seedls.commands.languages import language_of
from seedls.refactoring.ignore_rules import RuleFile, glob_pattern, is_ignored, parse_rules
from seedls.syntax import parse

MAX_BYTES = 1_000_000
"""Larger source files are data or generated."""

_SECRET_NAMES = (
    *(".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.asc", "*.gpg"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".npmrc", ".pypirc", ".htpasswd"),
    *(".git-credentials", ".dockercfg", ".env*.py", "credentials", "credentials.*", "secrets.json", "secrets.y*ml"),
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".docker"})
_NEVER_ENTERED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".tox", ".nox", ".venv"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is left alone before anything is read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """Files in path order, absolute and free of symbolic links; `skipped` names only what might have been expected."""

    files: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def find_files(paths: Sequence[Path], only: Sequence[str] = ()) -> Found:
    """Source files under `paths`; raises CommandFailed for a path that is not there.

    `only` are globs: one without a slash matches a name at any depth, one with a slash the path below the given folder.
    """
    patterns = [glob_pattern(glob) for glob in only]
    files: dict[Path, None] = {}
    skipped: dict[Path, str] = {}
    for path in paths:
        root = _existing(path)
        for file in [root] if root.is_file() else _listed(root):
            shown = file.name if file == root else file.relative_to(root).as_posix()
            if patterns and not any(pattern.fullmatch(shown) for pattern in patterns):
                continue
            reason = _reason_to_skip(file, root)
            if reason is None:
                files[file] = None
            elif reason:
                skipped[file] = reason
    return Found(tuple(sorted(files)), tuple(Skipped(path, skipped[path]) for path in sorted(skipped)))


def is_secret(path: Path) -> bool:
    """True for names under which keys and passwords are kept."""
    name = path.name.lower()
    return any(fnmatch.fnmatchcase(name, glob) for glob in _SECRET_NAMES) or not _SECRET_FOLDERS.isdisjoint(path.parts)


def _existing(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandFailed(f"cannot read {path}: {reason}") from None


def _reason_to_skip(file: Path, root: Path) -> str | None:
    """None: take it. "": not source code, not worth a line. Looks at names and metadata only."""
    if is_secret(file):
        return "may hold secrets"
    language = language_of(file)
    if language is None:
        return "not a known source file" if file == root else ""
    if not _is_text(str(file)):
        return "its name is not valid text"
    try:
        status = file.lstat()
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if not file.resolve().is_relative_to(root):
        return "outside the given paths"
    if parse(language, "") is None:
        return f"no grammar for {language} is installed"
    if status.st_nlink > 1:
        return "has other hard links, which replacing it would cut off"
    if status.st_size > MAX_BYTES:
        return f"{status.st_size} bytes, the limit is {MAX_BYTES}"
    return None


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return name.isprintable()


def _listed(root: Path) -> Iterator[Path]:
    names = _git_names(root)
    if names is None:
        yield from _walk(root, "", [])
        return
    for name in names:
        path = root / name
        if not path.is_dir() or path.is_symlink():  # a submodule is listed as its folder
            yield path


def _git_names(root: Path) -> list[str] | None:
    """Tracked and untracked, not ignored; relative to `root`. None where git is missing or knows no repository."""
    program = shutil.which("git")
    if program is None:
        return None
    # A repository's own configuration can name a program to run as its file monitor: never start that.
    command = [program, "-c", "core.fsmonitor=false", "-C", str(root), "ls-files", "-z"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        [*command, "--cached", "--others", "--exclude-standard", "--deduplicate", "--", "."],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        return None
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [name for name in names if os.path.lexists(root / name)]  # deleted but still in the index


def _walk(folder: Path, shown: str, above: list[RuleFile]) -> Iterator[Path]:
    """Every file under `folder` that no rule from the given folder downwards ignores; links are not followed.

    `shown` is the folder's path below the given one, with a trailing slash unless empty.
    """
    rules = [*above, *_rules_of(folder, shown)]
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_ignored(shown + entry.name, is_folder, rules):
            continue
        path = folder / entry.name
        if not is_folder:
            yield path
        elif entry.name not in _NEVER_ENTERED and not (path / "pyvenv.cfg").exists():
            yield from _walk(path, f"{shown}{entry.name}/", rules)


def _rules_of(folder: Path, shown: str) -> list[RuleFile]:
    try:
        return [parse_rules((folder / ".gitignore").read_text(encoding="utf-8", errors="replace"), shown)]
    except OSError:
        return []
