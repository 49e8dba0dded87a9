from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedls.edit_history import EditHistory, LineChange
from seedls.positions import LineText
from seedls.suggestions import pause_before_model
from seedls.text_edits import Replacement, single_replacement
from tests.seedls.texts import texts


class Buffer:
    """A text and its history."""

    def __init__(self, text: str) -> None:
        self.content = LineText.from_text(text)
        self.history = EditHistory()
        self.now = 100.0

    def replace(self, start: int, end: int, new: str, after_s: float = 0.1) -> None:
        self.now += after_s
        first, last = self.content.line_of(start), self.content.line_of(end)
        self.history.note(self.content, [LineChange(first, last, first + new.count("\n"))], self.now)
        text = self.content.text
        self.content = LineText.from_text(text[:start] + new + text[end:])

    def type(self, at: int, text: str) -> None:
        for idx, character in enumerate(text):
            self.replace(at + idx, at + idx, character)

    @property
    def replacements(self) -> list[Replacement]:
        found = [single_replacement(old.text, new.text) for old, new in self.history.edits(self.content)]
        return [change for change in found if change is not None]


def test_keystrokes_in_one_place_are_one_replacement() -> None:
    buffer = Buffer("def old(a):\n    pass\n\n\nold(1)\n")
    buffer.replace(4, 7, "")
    buffer.type(4, "new_name")
    assert buffer.replacements == [Replacement(4, 7, "new_name")]


def test_going_elsewhere_begins_another_burst() -> None:
    buffer = Buffer("a = 1\n\n\n\nb = 2\n")
    buffer.replace(4, 5, "10")
    end = buffer.content.text.index("2")
    buffer.replace(end, end + 1, "20")
    assert [(one.new_text) for one in buffer.replacements] == ["0", "0"]
    assert buffer.replacements[0].start == buffer.content.text.index("20") + 1
    assert buffer.replacements[1].start == 5


def test_what_was_undone_is_no_edit() -> None:
    buffer = Buffer("a = 1\n")
    buffer.type(5, "23")
    buffer.replace(5, 7, "")
    assert buffer.replacements == []


@given(texts, st.lists(st.tuples(st.integers(0, 99), st.integers(0, 4), texts), max_size=12))
def test_the_newest_burst_leads_to_the_text_there_is(start: str, edits: list[tuple[int, int, str]]) -> None:
    buffer = Buffer(start.replace("\r", "\n"))
    for place, cut, new in edits:
        size = len(buffer.content.text)
        first = place % (size + 1)
        buffer.replace(first, min(size, first + cut), new.replace("\r", "\n"))
    found = buffer.history.edits(buffer.content)
    burst = buffer.history.current
    if found and burst is not None and found[0][0] is burst.base:
        assert found[0][1].text == buffer.content.text
    assert all(old.text != new.text for old, new in found)


def test_how_fast_somebody_types() -> None:
    buffer = Buffer("")
    assert buffer.history.typing_interval_s() is None
    for idx, pause in enumerate((0.1, 0.2, 0.1, 9.0, 0.1)):
        buffer.replace(idx, idx, "x", pause)
    interval = buffer.history.typing_interval_s()
    assert interval == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("line", "waited", "pause"),
    [("x = va", 0.0, 0.13), ("x = va", 0.1, 0.03), ("x = va", 5.0, 0.0), ("x = ", 0.0, 0.03), ("f(", 0.05, 0.0)],
)
def test_the_pause_is_longer_inside_a_word_and_counts_from_the_last_key(line: str, waited: float, pause: float) -> None:
    buffer = Buffer("")
    for idx in range(6):
        buffer.replace(idx, idx, "x", 0.1)
    found = pause_before_model(line, buffer.history, 0.03, 0.2, buffer.now + waited)
    assert found == pytest.approx(pause, abs=1e-6)


def test_a_fixed_pause_stays_fixed() -> None:
    assert pause_before_model("wor", None, 0.03, 0.2, 50.0) == pytest.approx(0.03)
    assert pause_before_model("wor", EditHistory(), 0.0, 0.0, 50.0) == 0.0
