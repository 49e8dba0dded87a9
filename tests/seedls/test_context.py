from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedls.context import completion_window, is_multi_line_wanted
from seedls.syntax import parse
from tests.seedls.texts import texts


@given(texts, st.integers(0, 60), st.integers(1, 40), st.integers(0, 40))
def test_a_window_is_cut_from_around_the_cursor(text: str, offset: int, before: int, after: int) -> None:
    offset = min(offset, len(text))
    window = completion_window(text, offset, before, after)
    assert text[offset:].startswith(window.suffix)
    assert len(window.suffix) <= after
    assert len(window.prefix) <= before
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    if len(line) <= before * 0.7:
        assert window.prefix.endswith(line)


def test_a_short_file_is_shown_whole() -> None:
    window = completion_window("import a\n\nx = \ny = 2\n", 14, 100, 100)
    assert (window.prefix, window.suffix) == ("import a\n\nx = ", "\ny = 2\n")


def test_far_imports_and_signatures_stay_in_sight() -> None:
    body = "".join(f"        step_{number} = {number}\n" for number in range(200))
    text = f"import os\nfrom a import b\n\nclass Zoo(Base):\n    def feed(self, food: Food) -> None:\n{body}        "
    tree = parse("python", text)
    window = completion_window(text, len(text), 1000, 100, tree)
    assert window.prefix.startswith(
        "import os\nfrom a import b\nclass Zoo(Base):\n    def feed(self, food: Food) -> None:\n        step_"
    )
    assert window.prefix.endswith("step_199 = 199\n        ")
    assert len(window.prefix) <= 1000


def test_a_head_that_does_not_fit_is_left_out() -> None:
    text = f"def f({'a' * 500}):\n" + "    x = 1\n" * 200
    window = completion_window(text, len(text), 400, 0, parse("python", text))
    assert set(window.prefix.splitlines()) == {"    x = 1"}


def test_one_long_line_is_cut_at_its_far_ends() -> None:
    window = completion_window("x" * 1000 + "|" + "y" * 1000, 1000, 100, 50)
    assert window.prefix == "x" * len(window.prefix)
    assert 0 < len(window.prefix) <= 100
    assert window.suffix == "|" + "y" * 49


@pytest.mark.parametrize(
    ("marked", "wanted"),
    [
        ("def f():\n    |\n", True),
        ("|", True),
        ("x = foo(|)", False),
        ("def f():|", True),
        ("x = |\n", True),
        ("return x.|\n", False),
        ("    |return 1\n", False),
        ("call(a,|\n", True),
    ],
)
def test_where_more_than_one_line_is_wanted(marked: str, wanted: bool) -> None:
    assert is_multi_line_wanted(marked.replace("|", ""), marked.index("|")) is wanted
