from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedls.next_edit import Site, follow_ups, widened
from seedls.syntax import parse
from seedls.text_edits import Replacement, apply_replacements, single_replacement
from tests.seedls.texts import texts


def _sites(*versions: str, language: str = "python") -> list[Site]:
    """Follow-ups of the edits that lead from each version to the next, the last one being what the buffer holds."""
    edits = []
    for before, after in pairwise(versions):
        change = single_replacement(before, after)
        assert change is not None
        edits.insert(0, (before, change))
    tree = parse(language, versions[-1])
    assert tree is not None
    return follow_ups(versions[-1], edits, tree)


def _done(*versions: str) -> str:
    """The text with every follow-up applied; `…` where the model writes."""
    sites = _sites(*versions)
    texts_ = [one.new_text if one.hole is None else one.new_text[: one.hole] + "…" for one in sites]
    replacements = [Replacement(one.start, one.end, text) for one, text in zip(sites, texts_, strict=True)]
    return apply_replacements(versions[-1], replacements)


def test_a_renamed_function_is_renamed_where_it_is_called() -> None:
    before = "def old(a):\n    return old(a - 1)\n\n\nx = old(1)  # old\ny = 'old'\nz.old = 1\n"
    after = before.replace("def old", "def 漢_new")
    assert _done(before, after) == after.replace("return old", "return 漢_new").replace("x = old", "x = 漢_new")


def test_a_renamed_parameter_changes_inside_its_function_only() -> None:
    before = "def f(count):\n    return count + 1\n\n\ndef g(other):\n    print(count)\n"
    after = before.replace("f(count)", "f(counter)")
    assert _done(before, after) == after.replace("return count", "return counter")


def test_a_renamed_variable_and_a_renamed_method() -> None:
    before = "def f():\n    total = 1\n    total += 2\n    return total\n"
    assert _done(before, before.replace("    total = 1", "    amount = 1")) == (
        "def f():\n    amount = 1\n    amount += 2\n    return amount\n"
    )
    before = "class A:\n    def run(self):\n        self.run()\n        run()\n"
    after = before.replace("def run", "def start")
    assert _done(before, after) == after.replace("self.run()", "self.start()")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("foo(1)\nfoo(2)\ndef foo(a): pass\n", "bar(1)\nfoo(2)\ndef foo(a): pass\n"),  # only another call
        ("x = 1\ny = 1\n", "x = 2\ny = 1\n"),  # a number is no name
        ("a.name = 1\nb.name = 2\n", "a.title = 1\nb.name = 2\n"),  # somebody else's attribute
        ("def f(a, b):\n    pass\nf(1, 2)\n", "def f(a, b=1):\n    pass\nf(1, 2)\n"),
        ("def f(a):\n    pass\nf(1)\n", "def f(a, *rest):\n    pass\nf(1)\n"),
        ("def f(a):\n    pass\nf(1, 2)\n", "def f(a, b):\n    pass\nf(1, 2)\n"),  # has it already
        ("def f(a):\n    pass\ng(1)\n", "def f(a, b):\n    pass\ng(1)\n"),
        ("# old words\n# old words\n", "# new words\n# old words\n"),
        ("x = 1\n", "x = 1\n\n"),
    ],
)
def test_when_to_stay_quiet(before: str, after: str) -> None:
    assert _sites(before, after) == []


def test_an_added_argument_is_missing_in_the_calls() -> None:
    before = "def area(width):\n    return width\n\n\nprint(area(2), area(g(3), ))\narea(*sizes)\n"
    after = before.replace("area(width)", "area(width, height)")
    assert _done(before, after) == after.replace("area(2)", "area(2, …)").replace("area(g(3), )", "area(g(3), …)")


def test_an_added_argument_of_a_method_and_of_a_function_without_any() -> None:
    before = "class A:\n    def run(self, a):\n        pass\n\n\nA().run(1)\nrun(1)\n"
    after = before.replace("(self, a)", "(self, a, b)")
    assert _done(before, after) == after.replace("A().run(1)", "A().run(1, …)")
    before = "def now():\n    pass\n\n\nnow()\n"
    assert _done(before, before.replace("def now()", "def now(zone)")).endswith("\nnow(…)\n")


def test_the_same_replacement_twice_is_offered_for_the_rest() -> None:
    start = "print(a)\nprint(b)\nprint(c)\nfootprint(d)\n# print(e)\n"
    once = start.replace("print(a)", "log.info(a)")
    twice = once.replace("print(b)", "log.info(b)")
    assert _sites(start, once) == []
    assert _done(start, once, twice) == twice.replace("print(c)", "log.info(c)")
    assert _sites(start, once, once.replace("print(b)", "debug(b)")) == []


def test_words_are_seen_whole() -> None:
    before, after = "count = 1\n", "counter = 1\n"
    change = single_replacement(before, after)
    assert change is not None
    made = widened(before, after, change)
    assert (made.old, made.new, made.start) == ("count", "counter", 0)


@settings(deadline=None)
@given(texts, st.integers(0, 60), st.integers(0, 5), texts)
def test_any_edit_gives_disjoint_sites_that_leave_the_edit_itself_alone(
    before: str, place: int, cut: int, new: str
) -> None:
    before = "def f(a):\n    pass\n" + before.replace("\r", "\n") + "\nf(1)\n"
    start = place % len(before)
    after = before[:start] + new.replace("\r", "\n") + before[start + cut :]
    if before == after:
        return
    sites = _sites(before, after)
    assert all(0 <= one.start <= one.end <= len(after) for one in sites)
    assert all(one.end <= other.start for one, other in pairwise(sites))
    assert all(one.hole is None or 0 <= one.hole <= len(one.new_text) for one in sites)
