from __future__ import annotations

import pytest

from seedls.edit_checks import scope_of
from seedls.instructions import INSTRUCTIONS, extraction_of, refactorings_for, target_of
from seedls.syntax import parse

CODE = '''x = 1

def documented(a):
    """Doc."""
    return a

def bare(a):
    return a

def stub(a): ...

class Zoo:
    def _hidden(self):
        raise NotImplementedError
'''


def _offered(selected: str, language: str = "python") -> list[str]:
    tree = parse(language, CODE)
    start = CODE.index(selected)
    target = target_of(CODE, start, start + len(selected), tree)
    return [one.id for one in refactorings_for(target, language, tree)] if target else []


FUNCTION = ["simplify", "handleErrors", "modernise", "rename", "explain", "tests"]


@pytest.mark.parametrize(
    ("selected", "offered"),
    [
        ("x = 1", ["simplify", "modernise", "explain"]),
        ('def documented(a):\n    """Doc."""\n    return a', ["typeHints", *FUNCTION]),
        ("def bare(a):\n    return a", ["typeHints", "docstring", *FUNCTION]),
        ("def stub(a): ...", ["typeHints", "docstring", "complete", *FUNCTION]),
        (
            "def _hidden(self):\n        raise NotImplementedError",
            ["typeHints", "docstring", "complete", *FUNCTION[:-1]],
        ),
        ("class Zoo:\n    def _hidden(self):\n        raise NotImplementedError", None),
        ("\n\n", []),
    ],
)
def test_only_what_makes_sense_is_offered(selected: str, offered: list[str] | None) -> None:
    found = _offered(selected)
    assert found == offered if offered is not None else "tests" in found


def test_unknown_languages_get_what_needs_no_grammar() -> None:
    assert _offered("x = 1", "cobol") == ["simplify", "modernise", "explain"]


BODY = "def f(a):\n    b = a\n    c = b\n    return c\n"


@pytest.mark.parametrize(
    ("selected", "is_offered"),
    [
        ("    b = a\n    c = b\n", True),
        ("    b = a", False),  # one line is no function
        (BODY, False),  # the function itself
        ("def f(a):\n    b = a\n", False),
    ],
)
def test_a_part_of_a_body_can_be_extracted(selected: str, is_offered: bool) -> None:
    start = BODY.index(selected)
    found = extraction_of(BODY, start, start + len(selected), parse("python", BODY))
    assert (found is not None) is is_offered
    if found is not None:
        target, prompt = found
        assert BODY[target.start : target.end] == BODY.rstrip()
        assert "    b = a\n    c = b" in prompt
        assert "{lines}" not in prompt
    assert extraction_of(BODY, start, start + len(selected), None) is None


def test_without_a_selection_the_function_around_the_caret_is_meant() -> None:
    tree = parse("python", CODE)
    inside = CODE.index("return a")
    target = target_of(CODE, inside, inside, tree)
    assert target is not None
    assert (CODE[target.start : target.start + 14], target.name) == ("def documented", "documented")
    assert target_of(CODE, 0, 0, tree) is None
    assert target_of(CODE, 0, 0, None) is None


def test_ids_are_unique_and_prompts_say_something() -> None:
    assert len(INSTRUCTIONS) == 12
    assert all(one.id == key and len(one.prompt) > 20 for key, one in INSTRUCTIONS.items())


def test_only_what_speaks_of_comments_or_hints_alone_is_held_to_them() -> None:
    narrow = {"typeHints": "annotations", "docstring": "comments", "explain": "comments"}
    scopes = {name: scope_of(instruction.prompt) for name, instruction in INSTRUCTIONS.items()}
    assert scopes == {name: narrow.get(name, "all") for name in INSTRUCTIONS}
