from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedls.engine import Engine
from seedls.session import Session
from seedls.settings_files import read_settings_files
from tests.support.fake_engine import FakeEngine, Script


def test_seedls_toml_comes_before_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.seedls]\nmodel = "b"\n[tool.seedls.completion]\nmode = "subtle"\n')
    assert read_settings_files([str(tmp_path)]) == ({"model": "b", "completion": {"mode": "subtle"}}, [])
    (tmp_path / "seedls.toml").write_text('model = "a"\n')
    assert read_settings_files([str(tmp_path)]) == ({"model": "a"}, [])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("seedls.toml", b"model = ", "seedls.toml: not TOML"),
        ("seedls.toml", b"\xff", "seedls.toml: cannot be read (UnicodeDecodeError)"),
        ("pyproject.toml", b"[tool", "pyproject.toml: not TOML"),
        ("seedls.toml", b"model = '../weights'", "seedls.toml: model: '../weights' is a path"),
        ("seedls.toml", b"#" * 1_000_001, "seedls.toml: larger than"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    options, (said,) = read_settings_files([str(tmp_path)])
    assert said.startswith(complaint)
    assert options == {}


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1\n", "[tool]\nseedls = 3\n"])
def test_a_project_without_our_table_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert read_settings_files([str(tmp_path), str(tmp_path / "gone")]) == ({}, [])


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_named(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seedls.toml").write_bytes(content)
        options, complaints = read_settings_files([folder])
        assert isinstance(options, dict)
        assert len(complaints) <= 2


def _session() -> Session:
    def factory(settings: object) -> Engine:
        return FakeEngine(Script())

    return Session(factory)


def test_the_workspace_file_wins_and_its_exclude_only_adds(tmp_path: Path) -> None:
    session = _session()
    session.roots = [str(tmp_path)]
    session.set_options("configuration", {"completion": {"mode": "eager"}, "exclude": ["*/mine.py"]})
    (tmp_path / "seedls.toml").write_text('exclude = ["*/theirs.py"]\ncolour = 1\n[completion]\nmode = "subtle"\n')
    assert session.read_settings_files() == ["unknown setting 'colour'"]
    assert session.settings.completion_mode == "subtle"
    assert session.is_excluded("file:///w/mine.py")
    assert session.is_excluded("file:///w/theirs.py")
    (tmp_path / "seedls.toml").unlink()
    assert session.read_settings_files() == []
    assert session.settings.completion_mode == "eager"
    assert not session.is_excluded("file:///w/theirs.py")
