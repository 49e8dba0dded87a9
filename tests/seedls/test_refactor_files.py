"""Which files `seedls refactor` may touch: ignore rules as git reads them, limits, secrets never opened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from seedls.commands.failure import CommandFailed
from seedls.refactoring import files as files_module
from seedls.refactoring.files import MAX_BYTES, find_files, is_secret
from seedls.refactoring.ignore_rules import is_ignored, parse_rules

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="no git on this machine")

_opened: list[str] | None = None


def _note_open(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event == "open":
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_open)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Every path this process opens during the test."""
    global _opened
    _opened = []
    yield _opened
    _opened = None


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module.shutil, "which", lambda _name: None)


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n", encoding="utf-8")
    return root


def names(root: Path, *only: str) -> list[str]:
    return [path.relative_to(root.resolve()).as_posix() for path in find_files([root], only).files]


def skipped(root: Path) -> dict[str, str]:
    return {item.path.name: item.reason for item in find_files([root]).skipped}


def git(folder: Path, *words: str) -> str:
    assert GIT is not None
    # A machine-wide ignore file must not decide a test.
    command = [GIT, "-c", "core.excludesFile=", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout


@needs_git
def test_git_decides_what_is_ignored(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    tree(tmp_path, "a.py", "b/c.py", "b/d.py", "out/e.py", "tracked.py", "gone.py")
    git(tmp_path, "add", "tracked.py", "gone.py")
    (tmp_path / "gone.py").unlink()
    (tmp_path / ".gitignore").write_text("out/\nb/d.py\ntracked.py\n", encoding="utf-8")
    assert names(tmp_path) == ["a.py", "b/c.py", "tracked.py"]
    assert names(tmp_path / "b") == ["c.py"]


@needs_git
def test_a_repository_cannot_make_git_start_a_program(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    tree(tmp_path, "a.py")
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n", encoding="utf-8")
    monitor.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(monitor))
    assert names(tmp_path) == ["a.py"]
    assert not (tmp_path / "started").exists()


def test_without_git_the_rules_are_read(tmp_path: Path, no_git: None) -> None:
    tree(tmp_path, "a.py", "build/b.py", "pkg/c.py", "pkg/d_pb2.py", "pkg/keep_pb2.py", "pkg/deep/e.py")
    tree(tmp_path, "node_modules/f.py", "env/g.py", "env/pyvenv.cfg", "__pycache__/h.py")
    (tmp_path / ".gitignore").write_text("/build\n*_pb2.py\n", encoding="utf-8")
    (tmp_path / "pkg/.gitignore").write_text("deep/\n!keep_pb2.py\n", encoding="utf-8")
    assert names(tmp_path) == ["a.py", "pkg/c.py", "pkg/keep_pb2.py"]


PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*", "*b", "[ab]", "[!a]", "\\a", "a b"])
PATTERNS = st.builds(
    lambda negated, lead, parts, tail: negated + lead + "/".join(parts) + tail,
    st.sampled_from(["", "", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " "]),
)
PATHS = ["a", "b", "ab", "c", "d/a", "d/b", "d/ab", "d/a b", "d/e/a", "d/e/b", "d/e/ab", "d/e/f/a", "d/e/f/aab"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-q")
    return tree(folder, *PATHS)


@needs_git
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PATTERNS, max_size=4), st.lists(PATTERNS, max_size=2))
@example([], ["/**", "!*/"])
def test_the_rules_mean_what_they_mean_to_git(repository: Path, outer: list[str], inner: list[str]) -> None:
    (repository / ".gitignore").write_text("\n".join(outer), encoding="utf-8")
    (repository / "d/.gitignore").write_text("\n".join(inner), encoding="utf-8")
    listed = git(repository, "ls-files", "-z", "--others", "--exclude-standard")
    expected = {name for name in listed.split("\0") if name and not name.endswith(".gitignore")}
    walked = files_module._walk(repository, "", [])
    found = {path.relative_to(repository).as_posix() for path in walked if path.name != ".gitignore"}
    assert found - {name for name in found if name.startswith(".git/")} == expected


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_text_can_be_read_as_rules(text: str, path: str) -> None:
    assert is_ignored(path, False, [parse_rules(text)]) in (True, False)


def test_secrets_are_never_opened(tmp_path: Path, no_git: None, opened: list[str]) -> None:
    secret = [".env", ".env.local", "prod.env", "server.pem", "id_rsa", ".env.py", "credentials.py", ".ssh/config.py"]
    tree(tmp_path, "a.py", *secret)
    opened.clear()
    found = find_files([tmp_path, tmp_path / ".env", tmp_path / ".ssh/config.py"])
    assert [path.name for path in found.files] == ["a.py"]
    assert {item.reason for item in found.skipped} == {"may hold secrets"}
    assert not [path for path in opened if Path(path).name in {Path(name).name for name in secret}]
    assert not is_secret(Path("pkg/secrets.py")), "the name of a module of Python's own library"


def test_what_is_left_out_says_why(tmp_path: Path, no_git: None) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("x = 1\n", encoding="utf-8")
    root = tree(tmp_path / "root", "a.py", "twin.py", "a.zig", "style.css", "deep/b.py")
    (root / "link.py").symlink_to(outside)
    (root / "linked_folder").symlink_to(tmp_path)
    (root / "big.py").write_bytes(b"#" * (MAX_BYTES + 1))
    os.link(root / "twin.py", tmp_path / "other_name.py")
    os.mkfifo(root / "pipe.py")
    assert names(root) == ["a.py", "deep/b.py"]
    assert skipped(root) == {
        "link.py": "a symbolic link",
        "big.py": f"{MAX_BYTES + 1} bytes, the limit is {MAX_BYTES}",
        "twin.py": "has other hard links, which replacing it would cut off",
        "pipe.py": "not a regular file",
        "style.css": "no grammar for css is installed",
    }


def test_a_link_given_as_a_path_is_followed_once(tmp_path: Path, no_git: None) -> None:
    root = tree(tmp_path / "root", "a.py")
    link = tmp_path / "link"
    link.symlink_to(root)
    assert find_files([link, root, root / "a.py"]).files == ((root / "a.py").resolve(),)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="nothing_here"):
        find_files([tmp_path / "nothing_here"])


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["b*.py"], ["bb.py", "pkg/b.py"]),
        (["pkg/*.py"], ["pkg/b.py"]),
        (["pkg/**"], ["pkg/b.py", "pkg/deep/c.py"]),
        (["/a.py", "c.py"], ["a.py", "pkg/deep/c.py"]),
        (["*.js"], []),
    ],
)
def test_only_chooses_by_glob(only: list[str], expected: list[str], tmp_path: Path, no_git: None) -> None:
    tree(tmp_path, "a.py", "bb.py", "pkg/b.py", "pkg/deep/c.py")
    assert names(tmp_path, *only) == expected
