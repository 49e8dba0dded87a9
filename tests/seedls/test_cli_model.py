"""`seedls model`: tables, JSON, and the runtime's errors as one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seedls.cli import main


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is installed, and nothing can be downloaded."""
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEEDLS_OFFLINE", "1")
    return tmp_path / "home"


def test_list_names_every_model_and_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list"]) == 0
    shown = capsys.readouterr().out
    assert "coder-0.5b" in shown and "MB to download" in shown


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert models["coder-0.5b"]["is_installed"] is False
    assert models["coder-0.5b"]["path"] is None


def test_info_tells_origin_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "info", "coder-0.5b"]) == 0
    shown = capsys.readouterr().out
    assert "licence" in shown and "Apache-2.0" in shown
    assert main(["model", "info", "coder-0.5b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "coder-0.5b"


@pytest.mark.parametrize(
    "words",
    [
        ["info", "coder-9"],
        ["verify", "coder-9"],
        ["install", "coder-9"],
        ["import", "missing-coder-9.gguf", "--name", "mine"],
    ],
)
def test_what_does_not_exist_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", *words]) == 1
    captured = capsys.readouterr()
    assert "coder-9" in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("name", ["../up", ".hidden", "a/b", ""])
def test_a_name_that_would_leave_the_folder_is_refused(
    name: str, empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.gguf"
    source.write_bytes(b"GGUF")
    assert main(["model", "import", str(source), "--name", name]) == 1
    assert repr(name) in capsys.readouterr().err
    assert not list(empty_home.rglob("*.safetensors"))


def test_a_file_that_is_no_checkpoint_is_refused(
    empty_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(b"\x80\x04not weights")
    assert main(["model", "import", str(source), "--name", "mine"]) == 1
    assert str(source) in capsys.readouterr().err
    assert not list(empty_home.rglob("*.safetensors"))
