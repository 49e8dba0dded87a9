from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from seedls.positions import (
    Encoding,
    LineText,
    characters_to_units,
    clamped,
    line_ending_of,
    split_lines,
    to_offset,
    to_offsets,
    to_position,
    to_range,
    units_to_characters,
)
from tests.seedls.texts import encodings, naive_lines, naive_offset, texts


@given(texts)
def test_lines_are_split_as_the_protocol_counts_them(text: str) -> None:
    assert split_lines(text) == naive_lines(text)
    assert "".join(split_lines(text)) == text


@pytest.mark.parametrize("separator", ["\f", "\x0b", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_what_python_calls_a_line_break_but_editors_do_not(separator: str) -> None:
    assert split_lines(f"a{separator}b\nc") == [f"a{separator}b\n", "c"]


@given(texts, st.integers(0, 30), st.integers(0, 30), encodings)
def test_a_position_becomes_the_offset_that_walking_gives(text: str, line: int, units: int, encoding: Encoding) -> None:
    expected = naive_offset(text, line, units, encoding)
    assert to_offset(LineText.from_text(text), types.Position(line, units), encoding) == expected


@given(texts, st.integers(0, 30), st.integers(0, 30), encodings)
def test_a_clamped_position_is_that_of_its_offset(text: str, line: int, units: int, encoding: Encoding) -> None:
    position = types.Position(line, units)
    content = LineText.from_text(text)
    there = to_position(content, to_offset(LineText.from_text(text), position, encoding), encoding)
    assert clamped(LineText.from_text(text), position, encoding) == there


@given(texts, encodings)
def test_every_offset_survives_the_way_to_a_position_and_back(text: str, encoding: Encoding) -> None:
    content = LineText.from_text(text)
    for offset in range(len(text) + 1):
        is_inside_terminator = 0 < offset < len(text) and text[offset - 1 : offset + 1] == "\r\n"
        expected = offset - 1 if is_inside_terminator else offset
        assert to_offset(content, to_position(content, offset, encoding), encoding) == expected


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 11), ("utf-16", 8), ("utf-32", 7)])
def test_units_of_an_emoji_line(encoding: Encoding, units: int) -> None:
    line = "x='é😀'!"  # 7 characters; é takes two bytes, the emoji four bytes or two UTF-16 units
    assert characters_to_units(line, 7, encoding) == units
    assert units_to_characters(line, units, encoding) == 7


@pytest.mark.parametrize(("encoding", "inside"), [("utf-16", 1), ("utf-8", 1), ("utf-8", 3)])
def test_a_position_inside_a_character_rounds_down(encoding: Encoding, inside: int) -> None:
    assert units_to_characters("😀a", inside, encoding) == 0


def test_positions_past_the_end_are_clamped() -> None:
    content = LineText.from_text("ab\r\ncd")
    assert to_offset(content, types.Position(0, 99), "utf-16") == 2  # before the terminator, not after it
    assert to_offset(content, types.Position(99, 0), "utf-16") == 6
    assert to_position(content, 99, "utf-16") == types.Position(1, 2)
    assert to_position(content, -5, "utf-16") == types.Position(0, 0)


def test_the_end_of_a_text_without_final_newline_is_on_its_last_line() -> None:
    assert to_position(LineText.from_text("a\nbc"), 4, "utf-16") == types.Position(1, 2)
    assert to_position(LineText.from_text("a\n"), 2, "utf-16") == types.Position(1, 0)


def test_the_empty_text_has_one_position() -> None:
    content = LineText.from_text("")
    assert to_offset(content, types.Position(0, 0), "utf-8") == 0
    assert to_position(content, 0, "utf-8") == types.Position(0, 0)


def test_a_reversed_range_is_put_in_order() -> None:
    content = LineText.from_text("abc\ndef")
    span = types.Range(types.Position(1, 1), types.Position(0, 1))
    assert to_offsets(content, span, "utf-16") == (1, 5)
    assert to_range(content, 1, 5, "utf-16") == types.Range(types.Position(0, 1), types.Position(1, 1))


@pytest.mark.parametrize(("line", "ending"), [("a\r\n", "\r\n"), ("a\r", "\r"), ("a\n", "\n"), ("a", ""), ("", "")])
def test_line_endings(line: str, ending: str) -> None:
    assert line_ending_of(line) == ending


def test_a_file_of_50_000_lines_converts_fast() -> None:
    content = LineText.from_text("value = compute(a, b)  # 😀\n" * 50_000)
    assert content.line_starts[-1] == len(content.text)
    started = time.perf_counter()
    for line in range(0, 50_000, 500):
        offset = to_offset(content, types.Position(line, 20), "utf-16")
        assert to_position(content, offset, "utf-16") == types.Position(line, 20)
    assert time.perf_counter() - started < 0.5  # 200 conversions; a scan of the text for each would take seconds
