"""`seedls complete`: positions, files it refuses, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime import CompletionRequest
from seedls.cli import main
from seedls.commands.failure import CommandFailed
from seedls.commands.source_file import offset_at, range_at, read_source
from seedls.settings import Settings
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]


def write(folder: Path, content: bytes, name: str = "a.py") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "line", "column", "prefix", "suffix"),
    [
        (b"ab\ncd\n", 1, 1, "ab\nc", "d\n"),
        (b"ab\r\ncd\r\n", 1, 1, "ab\nc", "d\n"),
        (b"ab\rcd", 1, 2, "ab\ncd", ""),
        (b"", 0, 0, "", ""),
        (b"x = 1", 0, 5, "x = 1", ""),
        (b"x = 1\n", 1, 0, "x = 1\n", ""),
        (b"\tif x:\n", 0, 1, "\t", "if x:\n"),
        ("s = '🙂é漢'\n".encode(), 0, 6, "s = '🙂", "é漢'\n"),
        (b"\xef\xbb\xbfx\n", 0, 1, "x", "\n"),
        (b"a\x0cb\xe2\x80\xa8c\n", 0, 5, "a\x0cb\u2028c", "\n"),
    ],
)
def test_a_position_splits_the_text(
    content: bytes, line: int, column: int, prefix: str, suffix: str, script: Script, tmp_path: Path
) -> None:
    path = write(tmp_path, content)
    assert main(["complete", str(path), "--line", str(line), "--column", str(column)]) == 0
    request = script.requests[0]
    assert (request.prefix, request.suffix, request.language) == (prefix, suffix, "python")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        (b"ab\n", 2, 0, "line 2 is past the end of {path} (2 lines, counted from 0)"),
        (b"", 1, 0, "line 1 is past the end of {path} (1 line, counted from 0)"),
        (b"ab\n", 0, 3, "column 3 is past the end of line 0 of {path} (2 characters)"),
        (b"ab\r\n", 0, 3, "column 3 is past the end of line 0 of {path} (2 characters)"),
        (b"\x7fELF\0\0", 0, 0, "{path} is a binary file (NUL byte at offset 4)"),
        (b"caf\xe9\n", 0, 0, "{path} is not UTF-8 text (byte 0xe9 at offset 3)"),
        (b"\xef\xbb\xbfcaf\xe9\n", 0, 0, "{path} is not UTF-8 text (byte 0xe9 at offset 6)"),
    ],
)
def test_bad_input_is_named(
    content: bytes, line: int, column: int, message: str, script: Script, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = write(tmp_path, content)
    assert main(["complete", str(path), "--line", str(line), "--column", str(column)]) == 1
    assert capsys.readouterr().err == f"seedls: {message.format(path=path)}\n"
    assert not script.configs, "the model is not loaded for input that cannot be used"


@pytest.mark.parametrize("name", [".", "missing.py"])
def test_what_is_no_file_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    assert main(["complete", str(path), "--line", "0", "--column", "0"]) == 1
    assert f"cannot read {path}" in capsys.readouterr().err


def test_a_long_file_is_shown_in_part(script: Script, tmp_path: Path) -> None:
    lines = [f"value_{number} = {number}" for number in range(50_000)]
    path = write(tmp_path, "\r\n".join(["import os", *lines]).encode())
    assert main(["complete", str(path), "--line", "30000", "--column", "5"]) == 0
    request = script.requests[0]
    assert isinstance(request, CompletionRequest)
    assert request.prefix.endswith("value_29998 = 29998\nvalue")
    assert request.suffix.startswith("_29999 = 29999\nvalue_30000 = 30000\n")
    assert len(request.prefix) + len(request.suffix) < 20_000


@pytest.mark.parametrize(
    ("flags", "deadline_ms"),
    [([], 2 * Settings().completion_deadline_ms), (["--deadline", "700"], 700), (["--deadline", "0"], None)],
)
def test_the_time_is_limited_unless_it_is_said_otherwise(
    flags: list[str], deadline_ms: float | None, script: Script, tmp_path: Path
) -> None:
    """Without a deadline the widest window is read: seconds on a CPU."""
    assert main(["complete", str(write(tmp_path, b"x = ")), "--line", "0", "--column", "4", *flags]) == 0
    assert script.requests[0].params.deadline_ms == deadline_ms


def test_json_says_what_it_cost(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, b"x = \n")
    assert main(["complete", str(path), "--line", "0", "--column", "4", "--max-lines", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = {"text": "42", "finish_reason": "end", "tokens": 3, "forwards": 2, "confidence": 0.5, "ms": 12.5}
    assert printed == expected
    assert script.requests[0].stop.max_lines == 1


def test_silence_prints_nothing(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.middle = ""
    assert main(["complete", str(write(tmp_path, b"")), "--line", "0", "--column", "0"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nothing worth showing here (low_confidence)\n"


def test_emoji_are_printed_in_any_locale(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.middle = "'🙂'"
    assert main(["complete", str(write(tmp_path, b"")), "--line", "0", "--column", "0"]) == 0
    assert capsys.readouterr().out == "'🙂'\n"


@given(st.text(st.sampled_from("ab\n\r\t🙂 \x0c\u2028"), max_size=30))
def test_every_position_has_one_offset(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    source = read_source(write(tmp_path_factory.mktemp("any"), text.encode()))
    unix = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = unix.split("\n")
    offsets = [offset_at(source, line, column) for line in range(len(lines)) for column in range(len(lines[line]) + 1)]
    assert offsets == list(range(len(unix) + 1))
    assert range_at(source, 0, len(lines) - 1) == (0, len(unix))
    with pytest.raises(CommandFailed, match="past the end"):
        offset_at(source, len(lines), 0)
