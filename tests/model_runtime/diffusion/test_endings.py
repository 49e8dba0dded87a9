"""Where a hole in Python may end. `|` is the cursor; the middle stands between brackets of its own: `|[[middle]]`."""

from __future__ import annotations

import ast
import io
import random
import time
import tokenize
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.diffusion import endings
from model_runtime.diffusion.endings import BlockEndings

SOURCES = [path.read_text("utf-8") for path in sorted(Path(endings.__file__).parents[1].rglob("*.py"))]


def may_end(text: str, *, keeps_indent: bool = False) -> bool:
    prefix, rest = text.split("[[")
    middle, suffix = rest.split("]]")
    answers = {
        BlockEndings(before, after, keeps_indent=keeps_indent).may_end(written)
        for before, written, after in (
            (prefix, middle, suffix),
            (prefix.replace("\n", "\r\n"), middle.replace("\n", "\r\n"), suffix.replace("\n", "\r\n")),
            (prefix.replace("    ", "\t"), middle.replace("    ", "\t"), suffix.replace("    ", "\t")),
        )
    }
    assert len(answers) == 1
    return answers.pop()


@pytest.mark.parametrize(
    "text",
    [
        "[[def f():]]",
        "[[def f():]]\n\n\ndef g():\n    pass\n",
        "class A:\n    [[def __init__(self):  # 👋]]\n\n    def f(self):\n        pass\n",
        "if a:\n    [[if b:\n        # later]]\n    c = 1\n",
        "for a in b:\n[[    c = a\n]]        d = 1\n",
        "def f():\n    [[if a:\n        b = 1]]\n      c = 2\n",
        "def f():\n    try:\n        [[a = 1]]\n\n    return a\n",
        "def f():\n    try:\n        [[a = 1\n    b = 2]]\n    except ValueError:\n        pass\n",
        "def f():\n    [[a = 1]]\n    else:\n        b = 2\n",
        "if a:\n    [[b = 1\nc = '👋']]\nelif c:\n    pass\n",
        "def f():\n    [[with a:\n        try:\n            b = 1]]\n    return b\n",
        "[[x = 1]]\n    y = 2\n",
        "def f():\n    [[for a in b:\n      c = 1]]\n      d = 2\n    e = 3\n  g = 4\n",
        "def f():\n    [[if a:]]\n            b = 1\n        else:\n            b = 2\n",
        "def f():\n    [[if a:]]\n        b = 1\n    except A:\n        b = 2\n",
    ],
)
def test_it_cannot_end(text: str) -> None:
    assert not may_end(text)


@pytest.mark.parametrize(
    "text",
    [
        "[[]]",
        "[[x = 1]]",
        "def f():[[  # todo]]\n    return 1\n",
        "def f():\n    [[return 1]]\n\n\ndef g():\n    pass\n",
        "if a:\n    [[b = 1\nelse:]]\n    c = 1\n",
        "if a:\n    [[b = 1]]\nelse:\n    c = 1\n",
        "try:\n    [[b = 1]]\nfinally:\n    c = 1\n",
        "try:\n    a()\nexcept A:\n    [[pass]]\nelse:\n    c = 1\n",
        "async def f():\n    async for a in b:\n        [[pass]]\n    else:\n        c = 1\n",
        "for a in [[b]]:\n    c = 1\n",
        "x = {\n    [['a':]]\n    1,\n}\n",
        "foo(\n    [[a,]]\n        b,\n)\n",
        'def f():\n    """[[Notes:]]\n\n    more\n    """\n',
        "x = [[1 + \\]]\n    2\n",
        "def f():\n    [[return 1]]\n# a comment anywhere\n    # and here\n\nx = 1\n",
        "def f():\n    [[if a:]]\n        b = 1\n    else:\n        b = 2\n    return b\n",
        "try:\n    [[if a:]]\n        b = 1\nexcept A:\n    c = 1\nd = 1\n",
        "def f():\n    try:\n        [[a = 1]]\n        b = 1\n    finally:\n        c = 1\n    d = 1\n",
        'def f():[[]]\n    """What the window\'s end',
        "def f(a):\n    [[if a:]]\n        run(a,\n",
        "    a,\n            b,\n    [[)]]\n\n  def f(self):\n",  # nor where that bracket opened
        ") -> int:\n    [[a = 1]]\nb = 2\n",
        "    [[a = 1]]\n  b = 1\n",  # what is above is not shown
        "[[]]run()\n",
        "if a:\n    [[await ]]run()\n",
        "if a:\n[[    b = 1\n]]    run()\n",
        "if a:\n    [[b = 1\n    ]]run()\n",
    ],
)
def test_it_may_end(text: str) -> None:
    assert may_end(text)


def test_what_lies_outside_the_cursors_block_is_not_asked_for_where_it_is_never_written() -> None:
    text = "def f():\n    try:\n        [[a = 1]]\n    return a\n"
    assert not may_end(text)
    assert may_end(text, keeps_indent=True)
    assert not may_end("def f():\n    [[try:\n        a = 1]]\n    return a\n", keeps_indent=True)


@pytest.mark.parametrize(
    ("prefix", "middle", "is_needed"),
    [
        ("class A:\n    ", "def f(self):", True),
        ("if a:\n    ", "b = '👋'", True),
        ("if a:\r\n    ", "b = 1\r\n", False),
        ("if a:\n    ", "b = 1\n    ", False),
        ("if ", "a", False),  # `:` may come
        ("", "", False),
    ],
)
def test_a_line_begins_behind_a_refused_end_where_this_one_is_over(prefix: str, middle: str, is_needed: bool) -> None:
    assert BlockEndings(prefix, "", keeps_indent=False).needs_newline(middle) is is_needed


def _cut(seed: int) -> tuple[str, str, str]:
    """A piece of a real file: from anywhere in a line, mostly its first letter, to the end of a line."""
    rng = random.Random(seed)
    lines = rng.choice(SOURCES).split("\n")
    first = rng.randrange(len(lines))
    last = min(len(lines), first + rng.randint(1, 12))
    indent = len(lines[first]) - len(lines[first].lstrip())
    column = rng.choice([0, indent, rng.randint(0, len(lines[first]))])
    prefix = "\n".join([*lines[:first], lines[first][:column]])
    middle = "\n".join(lines[first:last])[column:]
    return prefix, middle, "\n".join(["", *lines[last:]])


@given(st.integers(0, 10**9), st.booleans())
@settings(max_examples=400, deadline=None)
def test_what_was_cut_out_of_a_file_may_end_where_it_ended(seed: int, keeps_indent: bool) -> None:
    prefix, middle, suffix = _cut(seed)
    assert BlockEndings(prefix, suffix, keeps_indent=keeps_indent).may_end(middle)
    for width in (0, 20, 60, 200):
        if suffix[:width].strip() or not suffix.strip():
            assert BlockEndings(prefix, suffix[:width], keeps_indent=keeps_indent).may_end(middle)


def _lines_inside_strings(text: str) -> set[int]:
    """Numbers, from 0, of the lines that begin inside a string."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    spans = [(token.start[0], token.end[0]) for token in tokens if "STRING" in tokenize.tok_name[token.type]]
    return {line for first, last in spans for line in range(first, last)}


@given(st.integers(0, 10**9), st.data())
@settings(max_examples=300, deadline=None)
def test_a_window_that_begins_anywhere_but_in_a_string_refuses_no_real_end(seed: int, data: st.DataObject) -> None:
    prefix, middle, suffix = _cut(seed)
    inside = _lines_inside_strings(prefix + middle + suffix)
    lines = prefix.split("\n")
    first = data.draw(st.sampled_from([number for number in range(len(lines)) if number not in inside]))
    assert BlockEndings("\n".join(lines[first:]), suffix, keeps_indent=False).may_end(middle)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.data())
@settings(max_examples=400, deadline=None)
def test_an_end_that_is_refused_would_be_a_syntax_error(seed: int, other: int, data: st.DataObject) -> None:
    prefix, middle, suffix = _cut(seed)
    wrong = data.draw(st.sampled_from([middle.rsplit("\n", 1)[0], middle[: len(middle) // 2], _cut(other)[1]]))
    if BlockEndings(prefix, suffix, keeps_indent=False).may_end(wrong):
        return
    with pytest.raises(SyntaxError):
        ast.parse(prefix + wrong + suffix)


def test_a_string_that_never_ends_is_read_in_linear_time() -> None:
    started = time.process_time()
    assert BlockEndings('"""' + "\\a\\\\" * 50_000, "", keeps_indent=False).may_end("x")
    assert BlockEndings("'" + "\\'" * 50_000, "", keeps_indent=False).may_end("\nx")
    assert time.process_time() - started < 2.0  # exponential before


@given(st.text(alphabet="ab:#\"'()[]{}\\ \t\n👋=", max_size=80), st.text(alphabet='a:# \n)"', max_size=20))
def test_any_text_is_judged_alike_with_either_line_end(text: str, suffix: str) -> None:
    prefix, middle = text[:20], text[20:]
    judged = BlockEndings(prefix, suffix, keeps_indent=True).may_end(middle)
    prefix, middle, suffix = (each.replace("\n", "\r\n") for each in (prefix, middle, suffix))
    assert BlockEndings(prefix, suffix, keeps_indent=True).may_end(middle) is judged
