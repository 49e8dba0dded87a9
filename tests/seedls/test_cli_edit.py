"""`seedls edit`: what may change, what is printed, and writing back byte for byte."""

from __future__ import annotations

import codecs
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime import FinishReason
from seedls.cli import main
from seedls.commands.edit import unified_diff
from seedls.commands.source_file import with_own_line_endings
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]


def edit(path: Path, *flags: str) -> int:
    return main(["edit", str(path), "--instruction", "shout", *flags])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\nthree \xf0\x9f\x99\x82\r\nfour")
    return path


def test_write_keeps_every_other_byte(script: Script, file: Path) -> None:
    file.chmod(0o640)
    assert edit(file, "--range", "1:2", "--write") == 0
    assert file.read_bytes() == b"one\r\nTWO\nTHREE \xf0\x9f\x99\x82\r\nfour"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]


def test_new_lines_get_the_usual_ending(script: Script, file: Path) -> None:
    file.write_bytes(b"one\r\ntwo\r\n")
    script.rewrite = lambda text: text.replace("two", "two\nand a half")
    assert edit(file, "--write") == 0
    assert file.read_bytes() == b"one\r\ntwo\r\nand a half\r\n"


def test_the_byte_order_mark_stays(script: Script, file: Path) -> None:
    file.write_bytes(codecs.BOM_UTF8 + b"one\n")
    assert edit(file, "--write") == 0
    assert file.read_bytes() == codecs.BOM_UTF8 + b"ONE\n"
    assert script.requests[0].text == "one\n"


def test_a_link_stays_a_link(script: Script, file: Path) -> None:
    link = file.with_name("link.txt")
    link.symlink_to(file)
    assert edit(link, "--range", "0:0", "--write") == 0
    assert link.is_symlink()
    assert file.read_bytes().startswith(b"ONE\r\n")


def test_a_file_that_changed_meanwhile_is_not_overwritten(
    script: Script, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rewrite(text: str) -> str:
        file.write_bytes(b"typed meanwhile\n")
        return text.upper()

    script.rewrite = rewrite
    assert edit(file, "--write") == 1
    assert file.read_bytes() == b"typed meanwhile\n"
    assert "changed on disk" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--write"], ["--json"], ["--diff"], []])
def test_an_edit_outside_its_range_is_refused(
    flags: list[str], script: Script, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    script.outside = "# hello\n"
    assert edit(file, "--range", "1:1", *flags) == 1
    captured = capsys.readouterr()
    assert "outside the chosen lines" in captured.err and captured.out == ""
    assert file.read_bytes() == before


def test_a_new_syntax_error_is_refused(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.py"
    path.write_text("def f():\n    return 1\n", encoding="utf-8")
    script.rewrite = lambda text: text.replace("return 1", "return (1")
    assert edit(path, "--write") == 1
    assert "break the syntax" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "def f():\n    return 1\n"


@pytest.mark.parametrize("reason", ["length", "deadline", "cancelled"])
def test_a_rewrite_that_was_cut_short_is_refused(
    reason: FinishReason, script: Script, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_bytes()
    script.edit_finish = reason
    assert edit(file, "--write", "--max-tokens", "7") == 1
    assert f"did not finish ({reason}, --max-tokens 7)" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_rewrite_to_nothing_is_refused(script: Script, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    script.rewrite = lambda _: " \n"
    assert edit(file, "--range", "1:2", "--write") == 1
    assert "would delete the chosen lines" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_code_that_was_broken_may_be_edited(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("def f(:\n    return 1\n", encoding="utf-8")
    script.rewrite = lambda text: text.replace("1", "2")
    assert edit(path, "--write") == 0
    assert path.read_text(encoding="utf-8") == "def f(:\n    return 2\n"


def test_nothing_changed_says_so(script: Script, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = file.read_bytes()
    script.rewrite = str
    assert edit(file, "--write") == 0
    assert "changed nothing" in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize("flags", [["--instruction", " "], ["--range", "3:4"]])
def test_bad_requests_do_not_load_the_model(
    flags: list[str], script: Script, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edit(file, *flags) == 1
    assert capsys.readouterr().err.startswith("seedls: ")
    assert not script.configs


def test_json_holds_the_whole_file(script: Script, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edit(file, "--range", "0:0", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["text"].encode() == b"ONE" + file.read_bytes()[3:]
    assert (printed["changed"], printed["tokens"], printed["forwards"], printed["ms"]) == (True, 9, 4, 12.5)


def test_the_printed_diff_patches_the_file(script: Script, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = shutil.which("patch")
    if patch is None:
        pytest.skip("no `patch` on this machine")
    file.write_bytes(b"one\ntwo\nthree")
    assert edit(file, "--range", "1:2") == 0
    diff = capsys.readouterr().out
    subprocess.run([patch, str(file)], input=diff.encode(), check=True, capture_output=True)
    assert file.read_bytes() == b"one\nTWO\nTHREE"


def test_diff_marks_a_missing_last_newline() -> None:
    assert unified_diff("a", "x\n", "x") == (
        "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-x\n+x\n\\ No newline at end of file\n"
    )  # fmt: skip


LINES = st.lists(st.text(st.sampled_from("ab 🙂\t"), max_size=3), max_size=8)
ENDINGS = st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=8, max_size=8)


@given(LINES, ENDINGS, st.booleans(), LINES, st.booleans())
def test_line_endings_survive_any_edit(
    lines: list[str], endings: list[str], is_terminated: bool, new_lines: list[str], is_new_terminated: bool
) -> None:
    original = "".join(line + ending for line, ending in zip(lines, endings, strict=False))
    original = original if is_terminated else original.rstrip("\r\n")
    edited = "\n".join(new_lines) + ("\n" if is_new_terminated else "")
    result = with_own_line_endings(original, edited)
    unix = original.replace("\r\n", "\n").replace("\r", "\n")
    assert result.replace("\r\n", "\n").replace("\r", "\n") == edited
    assert with_own_line_endings(original, unix) == original
    if edited.startswith(unix) and "\r" not in original.replace("\r\n", ""):
        assert result.startswith(original.rstrip("\r\n"))


CODE = "import os\r\ndef f(a):\r\n\treturn os.path.join(a, '🙂')\r\n"


def test_without_an_instruction_it_repairs(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(CODE.encode())
    script.rewrite = lambda text: text.replace("join(a", "join(a, a")
    assert main(["edit", str(path), "--problem", "2:a may be empty", "--keep", "0:0", "--write"]) == 0
    assert path.read_bytes() == CODE.replace("join(a", "join(a, a").encode()
    (request,) = script.repairs
    unix = CODE.replace("\r\n", "\n")
    line = unix.split("\n")[2]
    start = unix.index(line)
    assert request.problems == ((start, start + len(line), "a may be empty"),)
    assert request.pinned == ((0, len("import os")),)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("os.path", "posix.path", "it uses 'posix', which the file does not define"),
        ("return ", "retrn ", "would break the syntax"),
    ],
)
def test_what_is_refused_of_python(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, reason: str
) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(CODE.encode())
    script.rewrite = lambda text: text.replace(old, new)
    assert main(["edit", str(path), "--instruction", "do it", "--write"]) == 1
    assert reason in capsys.readouterr().err
    assert path.read_bytes() == CODE.encode()


def test_hints_bring_their_imports_where_all_of_the_file_may_change(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(CODE.encode())
    script.rewrite = lambda text: text.replace("(a):", "(a: Any) -> str:")
    assert main(["edit", str(path), "--instruction", "add type hints", "--write"]) == 0
    assert path.read_bytes().startswith(b"import os\r\nfrom typing import Any\r\n")


@pytest.mark.parametrize("flag", ["--problem=x:y", "--problem=3", "--keep=5:2"])
def test_a_flag_that_cannot_be_read_is_a_usage_error(script: Script, file: Path, flag: str) -> None:
    assert main(["edit", str(file), flag]) == 2
    assert script.requests == []
