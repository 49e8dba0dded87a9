"""Contents kept by digest, and files replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seedls.refactoring.storage import (
    ContentStore,
    FileChanged,
    current_digest,
    digest_of,
    replace_file,
    temporary_for,
)

OLD, NEW = b"\xef\xbb\xbfone\r\n\ttwo \xf0\x9f\x99\x82", b"new"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_bytes(OLD)
    path.chmod(0o750)
    return path


def test_replacing_keeps_the_mode_and_leaves_nothing_behind(file: Path) -> None:
    temporary_for(file, "run").write_bytes(b"left by a run that was killed")
    replace_file(file, NEW, digest_of(OLD), "run")
    assert file.read_bytes() == NEW
    assert file.stat().st_mode & 0o777 == 0o750
    assert list(file.parent.iterdir()) == [file]


def test_two_contents_never_share_a_second(file: Path) -> None:
    seconds = [int(file.stat().st_mtime)]
    for before, after in ((OLD, NEW), (NEW, OLD), (OLD, NEW)):
        replace_file(file, after, digest_of(before), "run")
        seconds.append(int(file.stat().st_mtime))
    assert seconds == sorted(set(seconds)), "bytecode and build caches would take one for the other"


def test_something_else_is_not_overwritten(file: Path) -> None:
    with pytest.raises(FileChanged, match="changed on disk"):
        replace_file(file, NEW, digest_of(b"what was there before"), "run")
    assert file.read_bytes() == OLD and list(file.parent.iterdir()) == [file]


def test_a_failing_disk_leaves_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        replace_file(file, NEW, digest_of(OLD), "run")
    assert file.read_bytes() == OLD and list(file.parent.iterdir()) == [file]


def test_a_link_and_a_missing_file_have_no_digest(file: Path) -> None:
    assert current_digest(file) == digest_of(OLD)
    link = file.with_name("link.py")
    link.symlink_to(file)
    with pytest.raises(FileChanged, match="no longer a regular file"):
        current_digest(link)
    with pytest.raises(FileChanged, match="cannot be read"):
        current_digest(file.with_name("gone.py"))


def test_the_store_keeps_and_verifies(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "contents")
    digest = store.put(OLD)
    assert store.put(OLD) == digest and store.get(digest) == OLD
    assert [path.name for path in (tmp_path / "contents").iterdir()] == [digest]
    store.path_of(digest).write_bytes(NEW)
    with pytest.raises(FileChanged, match="damaged"):
        store.get(digest)
    assert store.put(OLD) == digest and store.get(digest) == OLD, "a damaged copy is replaced"
    with pytest.raises(FileChanged, match="cannot be read"):
        store.get(digest_of(b"never put"))
