from __future__ import annotations

import pytest
from hypothesis import given

from seedls.line_endings import NormalisedText, dominant_line_ending, line_bounds
from tests.seedls.texts import texts


@given(texts)
def test_offsets_survive_the_way_there_and_back(text: str) -> None:
    normal = NormalisedText(text)
    assert normal.text == text.replace("\r\n", "\n").replace("\r", "\n")
    for offset in range(len(normal.text) + 1):
        original = normal.to_original(offset)
        assert normal.from_original(original) == offset
        assert text[max(0, original - 1) : original + 1] != "\r\n"
    for offset in range(len(text) + 1):
        expected = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
        if text[max(0, offset - 1) : offset + 1] == "\r\n" and 0 < offset < len(text):
            expected = expected[:-1]  # between the two: counts as before both
        assert normal.text[: normal.from_original(offset)] == expected


@pytest.mark.parametrize(
    ("text", "ending"), [("", "\n"), ("a\r\nb\r\nc\n", "\r\n"), ("a\rb\r", "\r"), ("a\nb\r\nc\n", "\n")]
)
def test_the_dominant_line_ending_is_used_for_new_text(text: str, ending: str) -> None:
    assert dominant_line_ending(text) == ending
    assert NormalisedText(text).restored("x\ny") == f"x{ending}y"


def test_lone_surrogates_become_readable_and_keep_their_place() -> None:
    normal = NormalisedText("a\ud83db\n")
    normal.text.encode("utf-8")
    assert normal.text == "a\ufffdb\n"


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(5, 5, (4, 7)), (4, 8, (4, 7)), (1, 5, (0, 7)), (0, 11, (0, 11)), (11, 11, (8, 11))]
)
def test_line_bounds(start: int, end: int, expected: tuple[int, int]) -> None:
    assert line_bounds("abc\ndef\nghi", start, end) == expected
