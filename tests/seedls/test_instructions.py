from __future__ import annotations

import pytest

from seedls.instructions import INSTRUCTIONS, refactorings_for, target_of
from seedls.syntax import parse

CODE = '''x = 1

def documented(a):
    """Doc."""
    return a

def bare(a):
    return a
'''


def _offered(selected: str, language: str = "python") -> list[str]:
    tree = parse(language, CODE)
    start = CODE.index(selected)
    target = target_of(CODE, start, start + len(selected), tree)
    return [one.id for one in refactorings_for(target, language, tree)] if target else []


@pytest.mark.parametrize(
    ("selected", "offered"),
    [
        ("x = 1", ["simplify"]),
        ('def documented(a):\n    """Doc."""\n    return a', ["typeHints", "simplify"]),
        ("def bare(a):\n    return a", ["typeHints", "docstring", "simplify"]),
        ("\n\n", []),
    ],
)
def test_only_what_makes_sense_is_offered(selected: str, offered: list[str]) -> None:
    assert _offered(selected) == offered


def test_unknown_languages_get_what_needs_no_grammar() -> None:
    assert _offered("x = 1", "cobol") == ["simplify"]


def test_without_a_selection_the_function_around_the_caret_is_meant() -> None:
    tree = parse("python", CODE)
    inside = CODE.index("return a")
    target = target_of(CODE, inside, inside, tree)
    assert target is not None
    assert (CODE[target.start : target.start + 14], target.name) == ("def documented", "documented")
    assert target_of(CODE, 0, 0, tree) is None
    assert target_of(CODE, 0, 0, None) is None


def test_ids_are_unique_and_prompts_say_something() -> None:
    assert len(INSTRUCTIONS) == 4
    assert all(one.id == key and len(one.prompt) > 20 for key, one in INSTRUCTIONS.items())
