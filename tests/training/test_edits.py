"""Edit pairs: each transformation does what its instruction undoes, on code that still parses."""

from __future__ import annotations

import ast
import random
from collections import Counter

import pytest

from model_runtime.training.data.edits import TRANSFORMS, draw_edit, function_texts, make_pair
from model_runtime.training.data.packages import SourceFile

CASES = {
    "hints": (
        "def f(a: int, *, b: str = '🎉', **kw: int) -> dict[str, int]:\n    return {b: a}\n",
        "def f(a, *, b = '🎉', **kw):\n    return {b: a}\n",
    ),
    "docstring": ('def f(a):\n    """Say."""\n    return a\n', "def f(a):\n    return a\n"),
    "rename": ("def f(key):\n    return key + 1\n", "def f({0}):\n    return {0} + 1\n"),
    "mutate": ("def f(a):\n    return a < 1.5\n", "def f(a):\n    return a <= 1.5\n"),
    "comprehension": (
        "def f(a):\n    out = [g(x) for x in a if x]\n    return out\n",
        "def f(a):\n    out = []\n    for x in a:\n        if x:\n            out.append(g(x))\n    return out\n",
    ),
    "ternary": (
        "def f(a):\n    return 1 if a else 2\n",
        "def f(a):\n    if a:\n        return 1\n    else:\n        return 2\n",
    ),
    "f-string": ('def f(a):\n    return f"is {a}!"\n', 'def f(a):\n    return "is {}!".format(a)\n'),
    "guard": (
        "def f(a):\n    if not a:\n        raise ValueError(a)\n    return a\n",
        "def f(a):\n    return a\n",
    ),
}


def test_every_transformation_has_a_case() -> None:
    assert set(CASES) == set(TRANSFORMS)


@pytest.mark.parametrize("name", sorted(CASES))
def test_transformation(name: str) -> None:
    good, degraded = CASES[name]
    undo = {make_pair(good, name, random.Random(seed)) for seed in range(20)}
    assert None not in undo
    for pair in undo:
        assert pair is not None
        sides = (pair.after, pair.before) if pair.transform == name else (pair.before, pair.after)
        assert sides[0] == good
        fresh = sides[1].partition("(")[2].partition(")")[0]
        assert sides[1] == degraded.format(fresh) if name == "rename" else sides[1] == degraded


def test_rename_asks_for_the_names_it_used() -> None:
    pair = make_pair("def f(key):\n    return key + 1\n", "rename", random.Random(0))
    assert pair is not None
    fresh = (pair.before if pair.transform == "rename" else pair.after).partition("(")[2].partition(")")[0]
    assert fresh in pair.instruction and "key" in pair.instruction


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rename", "def f(a):\n    def g():\n        return a\n    return g\n"),
        ("rename", "def f():\n    global a\n    a = 1\n"),
        ("docstring", 'def f():\n    """Only."""\n'),
        ("hints", "def f(a):\n    return a\n"),
        ("comprehension", "async def f(a):\n    out = [x async for x in a]\n"),
        ("mutate", "def f(a):\n    return a\n"),
        ("f-string", "def f(a):\n    return f'{a!r:>10}'\n"),
        ("guard", "def f(a):\n    if a:\n        return 1\n"),
    ],
)
def test_what_cannot_be_changed_safely_is_left(name: str, text: str) -> None:
    assert make_pair(text, name, random.Random(0)) is None


def test_drawn_pairs_parse_and_differ(sources: list[SourceFile]) -> None:
    rng = random.Random(0)
    kinds: Counter[str] = Counter()
    for _ in range(300):
        pair = draw_edit(sources[0], rng)
        if pair is not None:
            ast.parse(pair.before)
            ast.parse(pair.after)
            assert pair.before != pair.after
            kinds[pair.transform] += 1
    assert len(kinds) >= 6


def test_functions_are_dedented_and_bounded(sources: list[SourceFile]) -> None:
    texts = function_texts(sources[0].text)
    assert any(text.startswith("def put(self") for text in texts)
    assert not any(text.startswith(" ") for text in texts)
    assert function_texts("def broken(:") == []
    assert function_texts("") == []
