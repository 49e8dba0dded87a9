"""The journal of `seedls refactor`: any damage costs lines, never an exception and never a wrong event."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from seedls.refactoring.journal import Journal, encode_line, read_journal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=6)
GARBAGE = st.lists(st.binary(max_size=20) | st.sampled_from([b"\n", b"{}\n", b"00000000 {}\n", b"\0" * 40]), max_size=3)


def read(raw: bytes) -> tuple[list[dict[str, Any]], int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(raw)
        content = read_journal(path)
        return list(content.events), content.num_damaged


def is_subsequence(part: list[dict[str, Any]], whole: list[dict[str, Any]]) -> bool:
    rest = iter(whole)
    return all(any(event == other for other in rest) for event in part)


@given(EVENTS)
def test_what_is_appended_is_read(events: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        for event in events:
            with Journal(path) as journal:
                journal.append(event)
        content = read_journal(path)
    assert (list(content.events), content.num_damaged) == (events, 0)


@given(EVENTS, st.data())
def test_a_torn_end_costs_only_the_last_line(events: list[dict[str, Any]], data: st.DataObject) -> None:
    lines = [encode_line(event) for event in events]
    raw = b"".join(lines)
    cut = data.draw(st.integers(0, len(raw)))
    found, num_damaged = read(raw[:cut])
    whole = raw[:cut].count(b"\n")
    assert found == events[:whole]
    assert num_damaged == (0 if raw[:cut].endswith(b"\n") or not cut else 1)


@given(EVENTS, st.data(), EVENTS)
def test_appending_after_a_torn_end_loses_nothing_more(
    events: list[dict[str, Any]], data: st.DataObject, more: list[dict[str, Any]]
) -> None:
    raw = b"".join(encode_line(event) for event in events)
    cut = data.draw(st.integers(0, len(raw)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(raw[:cut])
        with Journal(path) as journal:
            for event in more:
                journal.append(event)
        found = list(read_journal(path).events)
    whole = raw[:cut].count(b"\n")
    # A line torn exactly before its newline is whole again once the next run has closed it.
    is_rescued = cut < len(raw) and raw[cut : cut + 1] == b"\n"
    assert found == events[: whole + is_rescued] + more


@given(EVENTS, GARBAGE, st.data())
def test_garbage_anywhere_never_invents_an_event(
    events: list[dict[str, Any]], garbage: list[bytes], data: st.DataObject
) -> None:
    raw = b"".join(encode_line(event) for event in events)
    for piece in garbage:
        place = data.draw(st.integers(0, len(raw)))
        raw = raw[:place] + piece + raw[place:]
    found, _ = read(raw)
    assert is_subsequence(found, events)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(raw: bytes) -> None:
    assert read(raw)[0] == []


def test_a_flipped_bit_is_noticed() -> None:
    line = encode_line({"event": "done", "path": "a.py"})
    for idx in range(len(line) - 1):
        found, num_damaged = read(line[:idx] + bytes([line[idx] ^ 1]) + line[idx + 1 :])
        assert found == [] and num_damaged >= 1


def test_an_absent_journal_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none.jsonl").events == ()
