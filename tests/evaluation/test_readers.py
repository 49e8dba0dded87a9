from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_runtime.evaluation.errors import DataError
from model_runtime.evaluation.readers import read_rows

GOOD = '{"task_id": "a", "text": "x\u2028y", "list": ["1"]}'


def test_reads_lines_with_line_separators_inside_strings_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(f"{GOOD}\r\n\n{GOOD}".encode())
    rows = read_rows(path)
    assert [row.line for row in rows] == [1, 3]
    assert rows[0].text("text") == "x\u2028y"


def test_reads_gzip_by_content_and_json_lists(tmp_path: Path) -> None:
    packed = tmp_path / "data.jsonl.gz"
    packed.write_bytes(gzip.compress(GOOD.encode()))
    listed = tmp_path / "data.json"
    listed.write_text(f"[{GOOD}, {GOOD}]", "utf-8")
    assert len(read_rows(packed)) == 1
    assert [row.line for row in read_rows(listed)] == [1, 2]
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    assert read_rows(empty) == []


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (f"{GOOD}\n{{broken\n", 2, "not JSON"),
        (f"{GOOD}\n\n[1]\n", 3, "expected an object, found list"),
        (f"{GOOD}\nnull\n", 2, "expected an object"),
    ],
)
def test_malformed_lines_name_file_and_line(tmp_path: Path, content: str, line: int, words: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=re.escape(f"{path}:{line}: ") + f".*{words}"):
        read_rows(path)


def test_wrong_bytes_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD.encode() + b'\n{"a": "\xff"}\n')
    with pytest.raises(DataError, match=re.escape(f"{path}:2: not UTF-8")):
        read_rows(path)


def test_wrong_fields_name_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"task_id": 3, "list": [1], "flag": true}', "utf-8")
    row = read_rows(path)[0]
    for call in (
        lambda: row.text("task_id"),
        lambda: row.text("missing"),
        lambda: row.texts("list"),
        lambda: row.identifier("flag"),
    ):
        with pytest.raises(DataError, match=re.escape(f"{path}:1: ")):
            call()
    assert row.identifier("task_id") == "3"
    assert row.optional_text("missing") == ""


def test_missing_and_truncated_files_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        read_rows(tmp_path / "none.jsonl")
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(DataError, match="cannot read"):
        read_rows(torn)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=80), ending=st.sampled_from([".json", ".jsonl", ".jsonl.gz"]), damage=st.integers(0, 60)
)
def test_any_bytes_give_rows_or_a_data_error(tmp_path: Path, content: bytes, ending: str, damage: int) -> None:
    path = tmp_path / f"fuzz{ending}"
    if damage % 2:
        whole = bytearray(gzip.compress(GOOD.encode()) if ending.endswith("gz") else f"{GOOD}\n".encode() * 2)
        whole[damage % len(whole)] ^= 1 << (damage % 8)
        content = bytes(whole)
    path.write_bytes(content)
    try:
        rows = read_rows(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(row.values, dict) for row in rows)


def test_deeply_nested_json_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    path.write_text("[" * 100_000, "utf-8")
    with pytest.raises(DataError, match=":1: "):
        read_rows(path)
    path.write_text(json.dumps({"fine": True}), "utf-8")
    assert read_rows(path)[0].values == {"fine": True}
