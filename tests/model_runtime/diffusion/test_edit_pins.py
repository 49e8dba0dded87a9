"""What it means that a text keeps its pins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime import RequestError
from model_runtime.diffusion.edit_pins import num_kept, pins_of

TEXT = "def old(x):\n    # keep 🎉\n    return old\n"


def span(part: str) -> tuple[int, int]:
    return TEXT.index(part), TEXT.index(part) + len(part)


@pytest.mark.parametrize(
    ("pinned", "new", "is_kept"),
    [
        ("old", "def old(y):\n    return 1\n", True),
        ("old", "def bold(y):\n    return 1\n", False),
        ("old", "def older(y):\n    return 1\n", False),
        ("    # keep 🎉\n", "x\n    # keep 🎉\ny", True),
        ("    # keep 🎉\n", "x\n    # keep 🎉 this\ny", False),
        ("    # keep 🎉\n", "x\n      # keep 🎉\ny", False),
        ("    # keep 🎉\n", "    # keep 🎉", True),
        ("# keep 🎉", "x = 1  # keep 🎉 this", True),
        ("\n", "a", False),
    ],
)
def test_words_and_lines_stay_whole(pinned: str, new: str, is_kept: bool) -> None:
    pins = pins_of(TEXT, [span(pinned)])
    assert (num_kept(pins, new) == len(pins)) == is_kept


def test_pins_stand_in_order_and_apart() -> None:
    pins = pins_of("a b a", [(4, 5), (0, 1), (2, 3)])
    assert [pin.text for pin in pins] == ["a", "b", "a"]
    assert num_kept(pins, "a b") == 2
    assert num_kept(pins, "b a") == 1
    assert num_kept(pins, "x a y b z a") == 3


def test_spans_that_overlap_are_one() -> None:
    assert [(pin.start, pin.end) for pin in pins_of("abcdef", [(0, 3), (2, 5), (5, 6)])] == [(0, 5), (5, 6)]


def test_a_span_outside_is_named() -> None:
    with pytest.raises(RequestError, match="pinned range 2:9"):
        pins_of("abc", [(2, 9)])


@settings(deadline=None)
@given(st.text("ab\n 🎉", max_size=20), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=4))
def test_a_text_keeps_its_own_pins(text: str, pairs: list[tuple[int, int]]) -> None:
    spans = [(min(pair), max(pair)) for pair in pairs if max(pair) <= len(text)]
    pins = pins_of(text, spans)
    assert num_kept(pins, text) == len(pins)
