from __future__ import annotations

import time

import pytest
from hypothesis import given, settings

from seedls.syntax import SyntaxTree, adds_errors, parse
from tests.seedls.texts import texts

CODE = '''class Zoo:
    # 😀 a comment
    @property
    def name(self):
        """Doc."""
        return f"é {self.x} there"

def bare(a):
    return 'text'
'''


def _tree(text: str = CODE) -> SyntaxTree:
    tree = parse("python", text)
    assert tree is not None
    return tree


def _at(mark: str, text: str = CODE) -> int:
    return text.index(mark) + len(mark)


def test_languages_without_a_grammar_give_nothing() -> None:
    assert parse("cobol", "MOVE A TO B.") is None
    assert parse("", "") is None


@settings(max_examples=150)
@given(texts, texts)
def test_reparsing_equals_parsing_anew(old: str, new: str) -> None:
    assert _tree(old).reparsed(new).count_errors() == _tree(new).count_errors()


@given(texts)
def test_any_text_parses_and_any_offset_may_be_asked(text: str) -> None:
    tree = _tree(text)
    for offset in range(len(text) + 1):
        tree.is_in_comment(offset)
        tree.is_in_string(offset)
        tree.enclosing_function(offset, offset)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("x = 1\n", False),
        ("def f(:\n", True),
        ("", False),
        ("return )\n", True),
        ("\ud83d = 1\n", True),
        # A missing end of line is no node of the tree.
        ("def f(v):\n    r = print(v)    return v\n", True),
    ],
)
def test_errors(text: str, errors: bool) -> None:
    assert bool(_tree(text).count_errors()) is errors


def test_an_error_that_was_there_before_does_not_count() -> None:
    tree = _tree("def f(:\n    pass\nx = 1\n")
    assert not adds_errors(tree, "def f(:\n    pass\nx = 2\n")
    assert adds_errors(_tree("x = 1\n"), "x = = 1\n")
    assert not adds_errors(_tree("x = = 1\n"), "x = 1\n")


@pytest.mark.parametrize(
    ("mark", "comment", "string"),
    [
        ("# 😀 a", True, False),
        ("a comment", True, False),
        ("'tex", False, True),
        ("'text'", False, False),
        ('f"é', False, True),
        ("{self.x", False, False),
        ('"""Do', False, True),
        ("return", False, False),
        ("class Z", False, False),
    ],
)
def test_comment_and_string_positions(mark: str, comment: bool, string: bool) -> None:
    tree = _tree()
    assert (tree.is_in_comment(_at(mark)), tree.is_in_string(_at(mark))) == (comment, string)


def test_enclosing_nodes_are_in_characters_and_include_decorators() -> None:
    tree = _tree()
    function = tree.enclosing_function(_at("{self.x"), _at("{self.x"))
    assert function is not None
    assert function.name == "name"
    assert CODE[function.start :].startswith("@property")
    assert CODE[: function.end].endswith('there"')
    outer = tree.enclosing_class(_at("{self.x"), _at("{self.x"))
    assert outer is not None
    assert outer.name == "Zoo"
    assert tree.enclosing_function(0, 5) is None
    assert [scope.name for scope in tree.scopes_at(_at("{self.x"))] == ["Zoo", "name"]


def test_docstrings() -> None:
    tree = _tree()
    found = {node.name: tree.has_docstring(node) for node in tree.definitions_in(0, len(CODE))}
    assert found == {"Zoo": False, "name": True, "bare": False}


def test_reparsing_a_file_of_10_000_lines_is_cheap() -> None:
    text = "def f(a, b):\n    return a + b\n\n\n" * 2500
    tree = _tree(text)
    changed = text[:50_000] + "x" + text[50_000:]
    started = time.perf_counter()
    tree.reparsed(changed).count_errors()
    assert time.perf_counter() - started < 0.1  # about 0.008 s; parsing anew takes about 0.04 s
