from __future__ import annotations

from pathlib import Path

import pytest

from seedls.workspace_files import MAX_FILE_BYTES, list_workspace, source_file


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def shown(root: Path, excluded: str = "") -> set[str]:
    listing = list_workspace(root, lambda path: bool(excluded) and path.endswith(excluded))
    names = {file.shown for file in listing.files}
    # One file at a time must come to the same verdict as the walk.
    every = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    alone = {name for name in every if source_file(root, root / name, lambda path: path.endswith(excluded or "\0"))}
    assert alone == names
    return names


def test_source_files_are_found_and_everything_else_left_out(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "a.py": "x = 1\n",
            "src/b.ts": "let x\n",
            "README.md": "text\n",
            "data.json": "{}",
            "node_modules/c.js": "x",
            ".venv/lib/d.py": "x",
            "env/pyvenv.cfg": "",
            "env/e.py": "x",
            "noextension": "x",
        },
    )
    assert shown(tmp_path) == {"a.py", "src/b.ts"}


@pytest.mark.parametrize("name", [".env.py", "id_rsa.py", "credentials.py", ".ssh/config.py", ".aws/keys.py"])
def test_secrets_are_never_listed(tmp_path: Path, name: str) -> None:
    make(tmp_path, {name: "KEY = 1\n", "a.py": "x"})
    assert shown(tmp_path) == {"a.py"}


def test_gitignore_is_honoured_at_every_depth(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            ".gitignore": "generated/\n*_pb2.py\n",
            ".git/info/exclude": "private.py\n",
            "generated/a.py": "x",
            "api_pb2.py": "x",
            "private.py": "x",
            "src/.gitignore": "/local.py\n!kept_pb2.py\n",
            "src/local.py": "x",
            "src/kept_pb2.py": "x",
            "src/deep/local.py": "x",
            "a.py": "x",
        },
    )
    assert shown(tmp_path) == {"a.py", "src/kept_pb2.py", "src/deep/local.py"}


def test_the_exclude_setting_counts(tmp_path: Path) -> None:
    make(tmp_path, {"a.py": "x", "b.py": "x"})
    assert shown(tmp_path, excluded="/b.py") == {"a.py"}


def test_large_files_and_links_are_left_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("x = 1\n")
    root = make(tmp_path / "root", {"a.py": "x", "big.py": "x" * (MAX_FILE_BYTES + 1)})
    (root / "link.py").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    assert {file.shown for file in list_workspace(root, lambda path: False).files} == {"a.py"}
    assert source_file(root, root / "link.py", lambda path: False) is None
    assert source_file(root, outside, lambda path: False) is None


def test_a_missing_folder_is_empty(tmp_path: Path) -> None:
    assert list_workspace(tmp_path / "gone", lambda path: False).files == ()
    assert source_file(tmp_path, tmp_path / "gone.py", lambda path: False) is None
