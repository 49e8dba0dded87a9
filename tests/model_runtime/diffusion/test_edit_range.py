"""The way of a range to the model and back, and how a long one is cut."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from model_runtime.diffusion.edit_range import Range, split_lines
from model_runtime.diffusion.edit_windows import Window, cut_windows

CODE = st.text(alphabet=st.sampled_from("ab \t\n\r\f\u2028é🎉:"), max_size=60)
INDENTED = "    def area(self):\r\n        return self.w\r\n\r\n    x = 1"


@settings(deadline=None)
@given(CODE)
@example("")
@example("\n")
@example("a\r\n")
@example("  a\n\n  b")
@example(INDENTED)
def test_unchanged_code_comes_back_byte_for_byte(text: str) -> None:
    part = Range.of(text)
    assert part.restore(part.code) == text
    assert part.with_old_blank_end(part.code.rstrip("\n")) == part.code


def test_indentation_and_line_ends_come_back() -> None:
    part = Range.of(INDENTED)
    assert part.code == "def area(self):\n    return self.w\n\nx = 1"
    changed = part.code.replace("self.w", "self.w * self.h")
    assert part.restore(changed) == INDENTED.replace("self.w\r", "self.w * self.h\r")


def test_a_new_last_line_ends_as_the_old_one_did() -> None:
    assert Range.of("a = 1\n").restore("a = 1\nb = 2") == "a = 1\nb = 2\n"
    assert Range.of("a = 1").restore("a = 1\nb = 2") == "a = 1\nb = 2"


@settings(deadline=None)
@given(CODE, st.integers(0, 60))
def test_an_offset_stands_before_the_same_character_in_the_code(text: str, offset: int) -> None:
    part = Range.of(text)
    place = part.code_offset(min(offset, len(text)))
    assert 0 <= place <= len(part.code)
    if offset < len(text) and text[offset] not in " \t\r\n":
        assert part.code[place] == text[offset]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["def f():", "    x", "", "\treturn 🎉", ")"]), max_size=40), st.integers(1, 12))
def test_windows_cover_everything_and_keep_the_limit(lines: list[str], limit: int) -> None:
    costs = [len(line) for line in lines]
    windows = cut_windows(lines, costs, limit)
    assert [line for window in windows for line in lines[window.first : window.last]] == lines
    for window in windows:
        assert sum(costs[window.first : window.last]) <= limit or window == Window(
            window.first, window.first + 1, False
        )


def test_a_window_ends_where_a_function_does() -> None:
    lines = split_lines("def f():\n    a\n\n    b\n\n\ndef g():\n    c\n    d\n    e\n")
    assert [(w.first, w.last) for w in cut_windows(lines, [1] * len(lines), 8)] == [(0, 6), (6, 10)]
