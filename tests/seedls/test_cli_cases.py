"""`seedls infill`, `generate`, `edits`: shapes, resuming, torn files, failing cases, malformed input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime import CheckpointCorrupt, CompletionRequest, EditRequest, RequestError
from seedls.cli import main
from seedls.commands.case_files import read_cases, unfinished
from seedls.commands.failure import CommandFailed
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]

HOLES = [{"id": idx, "prefix": f"x{idx} = ", "suffix": "\n"} for idx in range(4)]


def write_lines(path: Path, values: list[Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(command: str, cases: Path, out: Path, *flags: str) -> int:
    return main([command, "--cases", str(cases), "--out", str(out), *flags])


@pytest.mark.parametrize(
    ("command", "case", "result"),
    [
        ("infill", {"prefix": "x = ", "suffix": "\n", "language": "python"}, {"middle": "4\n2"}),
        ("infill", {"prefix": "a\r\nx = ", "suffix": "\r\n"}, {"middle": "4\r\n2"}),
        ("generate", {"prompt": "abc 🙂"}, {"text": "🙂 cba"}),
        ("edits", {"instruction": "shout", "before": "a\tb\r\n"}, {"after": "A\tB\r\n"}),
    ],
)
def test_the_shapes(command: str, case: dict[str, Any], result: dict[str, Any], script: Script, tmp_path: Path) -> None:
    cases = write_lines(tmp_path / "in.jsonl", [{"id": "one", **case}, {"id": 1, **case, "extra": [1]}])
    out = tmp_path / "new folder" / "out.jsonl"
    script.middle = "4\n2"
    assert run(command, cases, out) == 0
    cost = {"tokens": 9, "forwards": 4} if command == "edits" else {"tokens": 3, "forwards": 2}
    assert read_lines(out) == [{"id": name, **result, **cost, "ms": 12.5} for name in ("one", 1)]


def test_flags_reach_the_requests(script: Script, tmp_path: Path) -> None:
    cases = write_lines(tmp_path / "in.jsonl", [{"id": 1, "prompt": "p"}])
    flags = ["--chat", "--system", "be brief", "--stop", "END", "--stop", "\n\n", "--policy", "ar"]
    assert run("generate", cases, tmp_path / "out.jsonl", *flags) == 0
    request = script.requests[0]
    assert (request.chat, request.system, request.stop_strings) == (True, "be brief", ("END", "\n\n"))
    assert request.params.policy == "ar"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), CheckpointCorrupt("torn"), MemoryError()])
def test_a_stopped_run_keeps_what_it_finished_and_continues(
    stop: BaseException, script: Script, tmp_path: Path
) -> None:
    cases, out = write_lines(tmp_path / "in.jsonl", HOLES), tmp_path / "out.jsonl"
    script.error_at[2] = stop
    try:
        assert run("infill", cases, out) == 1
    except MemoryError:
        assert isinstance(stop, MemoryError)
    assert [line["id"] for line in read_lines(out)] == [0, 1]
    script.error_at.clear()
    assert run("infill", cases, out) == 0
    assert [line["id"] for line in read_lines(out)] == [0, 1, 2, 3]
    assert len(script.requests) == 5


def test_a_finished_run_does_not_load_the_model(script: Script, tmp_path: Path) -> None:
    cases, out = write_lines(tmp_path / "in.jsonl", HOLES), tmp_path / "out.jsonl"
    assert run("infill", cases, out) == 0
    assert run("infill", cases, out) == 0
    assert len(script.configs) == 1 and script.closed == 1


def test_a_torn_last_line_is_done_again(script: Script, tmp_path: Path) -> None:
    cases, out = write_lines(tmp_path / "in.jsonl", HOLES[:2]), tmp_path / "out.jsonl"
    out.write_bytes(b'{"id": 0, "middle": "kept"}\n{"id": 1, "mid')
    assert run("infill", cases, out) == 0
    assert [line["middle"] for line in read_lines(out)] == ["kept", "42"]


def test_a_case_the_model_cannot_take_does_not_stop_the_others(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases, out = write_lines(tmp_path / "in.jsonl", HOLES[:3]), tmp_path / "out.jsonl"
    script.error_at[1] = RequestError("prefix has 99999 tokens, 32768 fit")
    assert run("infill", cases, out) == 1
    lines = read_lines(out)
    assert [line["id"] for line in lines] == [0, 1, 2]
    assert lines[1]["error"] == "prefix has 99999 tokens, 32768 fit"
    assert "1 of 3 cases failed" in capsys.readouterr().err


def test_an_empty_file_of_cases_is_no_error(script: Script, tmp_path: Path) -> None:
    cases = write_lines(tmp_path / "in.jsonl", [])
    assert run("infill", cases, tmp_path / "out.jsonl") == 0
    assert not script.configs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", ":2: not JSON"),
        (b"\xff\xfe", ":2: not JSON"),
        (b"[1]", ":2: not a JSON object"),
        (b'{"prefix": "", "suffix": ""}', ":2: 'id' is missing"),
        (b'{"id": null, "prefix": "", "suffix": ""}', ":2: 'id' is a NoneType"),
        (b'{"id": true, "prefix": "", "suffix": ""}', ":2: 'id' is a bool"),
        (b'{"id": 0, "prefix": "", "suffix": ""}', ":2: id 0 appears twice"),
        (b'{"id": 9, "prefix": ""}', ":2: 'suffix' is missing"),
        (b'{"id": 9, "prefix": 3, "suffix": ""}', ":2: 'prefix' is a int"),
        (b'{"id": 9, "prefix": "", "suffix": "", "language": 3}', ":2: 'language' is a int"),
    ],
)
def test_a_malformed_line_is_named(
    line: bytes, message: str, script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = write_lines(tmp_path / "in.jsonl", HOLES[:1])
    cases.write_bytes(cases.read_bytes() + line + b"\n")
    assert run("infill", cases, tmp_path / "out.jsonl") == 1
    assert f"{cases}{message}" in capsys.readouterr().err
    assert not script.configs and not (tmp_path / "out.jsonl").exists()


def test_out_must_be_another_file_that_can_be_written(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = write_lines(tmp_path / "in.jsonl", HOLES)
    assert run("infill", cases, cases) == 1
    assert run("infill", cases, cases / "below.jsonl") == 1
    assert run("infill", cases, tmp_path) == 1
    assert capsys.readouterr().err.count("\n") == 3
    assert read_lines(cases) == HOLES and not script.configs


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("junk")
    cases = folder / "in.jsonl"
    cases.write_bytes(b'{"id": "a", "prefix": "", "suffix": ""}\n' + junk)
    try:
        read = read_cases(cases, ("prefix", "suffix"))
    except CommandFailed as error:
        assert str(cases) in str(error)
    else:
        assert read[0]["id"] == "a"


@given(st.integers(0, 4), st.integers(0, 30))
def test_a_run_killed_at_any_byte_can_continue(
    tmp_path_factory: pytest.TempPathFactory, num_done: int, torn_bytes: int
) -> None:
    out = tmp_path_factory.mktemp("killed") / "out.jsonl"
    lines = [json.dumps({"id": case["id"], "middle": "🙂"}).encode() + b"\n" for case in HOLES]
    torn = lines[num_done][:torn_bytes].removesuffix(b"\n") if num_done < len(HOLES) else b""
    out.write_bytes(b"".join(lines[:num_done]) + torn)
    assert unfinished(HOLES, out) == HOLES[num_done:]
    assert out.read_bytes() == b"".join(lines[:num_done])


def test_the_model_never_sees_a_carriage_return_or_half_a_character(script: Script, tmp_path: Path) -> None:
    text = "a\r\nb\rc \ud83d d\r\n"
    holes = write_lines(tmp_path / "holes.jsonl", [{"id": 1, "prefix": text, "suffix": text}])
    edits = write_lines(tmp_path / "edits.jsonl", [{"id": 1, "instruction": "none", "before": text}])
    script.rewrite = str
    assert run("infill", holes, tmp_path / "filled.jsonl") == 0
    assert run("edits", edits, tmp_path / "edited.jsonl") == 0
    clean = "a\nb\nc \ufffd d\n"
    hole, edit = script.requests
    assert isinstance(hole, CompletionRequest) and isinstance(edit, EditRequest)
    assert (hole.prefix, hole.suffix, edit.text) == (clean, clean, clean)
    assert read_lines(tmp_path / "edited.jsonl")[0]["after"] == text


def test_an_interrupted_run_says_how_to_continue(
    script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases, out = write_lines(tmp_path / "in.jsonl", HOLES), tmp_path / "out.jsonl"
    script.error_at[2] = KeyboardInterrupt()
    assert run("infill", cases, out) == 1
    assert f"interrupted; 2 of 4 cases were added to {out}" in capsys.readouterr().err
