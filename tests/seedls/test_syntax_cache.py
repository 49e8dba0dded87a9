from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedls import syntax_cache
from seedls.completion_filters import Place, keep_parsable
from seedls.syntax import SyntaxTree, parse
from seedls.syntax_cache import TreeCache

FUNCTION = 'def function_{0}(value):\n    """Say é{0}."""\n    total = value + {0}\n    return total\n\n\n'
LONG = "".join(FUNCTION.format(number) for number in range(2000))
"""12,000 lines."""
WORDS = ("x", "😀", "\n", "    ", "(", ")", '"""', "# ", "def f():\n    pass\n", "class A:\n")


def _tree(cache: TreeCache, text: str, start: int, end: int | None = None) -> SyntaxTree:
    tree = cache.tree(text, start, start if end is None else end)
    assert tree is not None
    return tree


def test_typing_in_a_long_file_parses_a_small_part_and_the_whole_only_once() -> None:
    cache = TreeCache("python")
    offset = LONG.index("    return total", len(LONG) // 2)
    text = LONG
    for character in "    result = print(value)\n":
        text = text[:offset] + character + text[offset:]
        offset += 1
        tree = _tree(cache, text, offset)
        assert tree.origin <= offset <= tree.end
        assert len(tree.text) < 20_000
        assert text[tree.origin : tree.end] == tree.text
    assert cache.num_whole_parses == 1
    _tree(cache, text, 10)
    assert cache.num_whole_parses == 2


def test_a_part_begins_and_ends_between_top_level_nodes() -> None:
    tree = _tree(TreeCache("python"), LONG, len(LONG) // 2)
    assert tree.origin > 0
    assert tree.count_errors() == 0
    assert tree.text.startswith("def function_")
    assert tree.text.rstrip().endswith("return total")


def test_offsets_are_those_of_the_whole_text() -> None:
    offset = LONG.index("value + 1000")
    tree = _tree(TreeCache("python"), LONG, offset)
    function = tree.enclosing_function(offset, offset)
    assert function is not None
    assert function.name == "function_1000"
    assert LONG[function.start : function.end].startswith("def function_1000(value):\n")
    assert LONG[function.start : function.end].endswith("return total")
    assert tree.is_in_string(LONG.index("Say é1000"))
    assert not tree.is_in_string(offset)
    assert [scope.name for scope in tree.scopes_at(offset)] == ["function_1000"]
    (definition,) = tree.definitions_in(function.start, function.end)
    assert tree.has_docstring(definition)


def test_a_change_above_moves_the_part() -> None:
    cache = TreeCache("python")
    offset = LONG.index("value + 1000")
    first = _tree(cache, LONG, offset)
    tree = _tree(cache, "import os\n" + LONG, offset + 10)
    assert (tree.origin, tree.text) == (first.origin + 10, first.text)
    assert cache.num_whole_parses == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 10**6), st.integers(0, 5)), max_size=30))
def test_whatever_is_typed_the_part_is_the_parse_of_its_text(edits: list[tuple[str, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syntax_cache, "_SHORT", 60)
        patch.setattr(syntax_cache, "_MARGIN", 30)
        cache = TreeCache("python")
        text = LONG[:700]
        for word, place, cut in edits:
            start = place % (len(text) + 1)
            text = text[:start] + word + text[start + cut :]
            offset = start + len(word)
            tree = _tree(cache, text, offset)
            assert text[tree.origin : tree.end] == tree.text
            assert tree.origin <= offset <= tree.end
            fresh = parse("python", tree.text, tree.origin)
            assert fresh is not None
            assert tree.count_errors() == fresh.count_errors()
            assert tree.is_in_string(offset) == fresh.is_in_string(offset)


def test_filters_judge_by_the_part() -> None:
    offset = LONG.index("    return total", len(LONG) // 2) + 4
    tree = _tree(TreeCache("python"), LONG, offset)
    place = Place(LONG[:offset], LONG[offset:])
    assert keep_parsable("total += 1\n    ", place, tree) == "total += 1\n    "
    assert keep_parsable('text = """\n    ', place, tree) == ""
    assert keep_parsable("call((\n    ", place, tree) == ""


def test_no_grammar_no_tree() -> None:
    assert TreeCache("cobol").tree("MOVE A TO B.", 0, 0) is None
