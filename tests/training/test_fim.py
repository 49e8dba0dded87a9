"""Holes: cut where they say, never more than they say."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.training.data.fim import (
    MAX_HOLE_CHARS,
    MAX_HOLE_LINES,
    ContextWidths,
    draw_hole,
    draw_relatives,
)
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.data.syntax_spans import LineOffsets, bracket_spans, python_node_spans

AWKWARD = {
    "emoji": 'def f(x):\n    name = "🎉é"\n    return name + x\n',
    "tabs": "def f(x):\n\tif x:\n\t\treturn x\n\treturn None\n",
    "crlf": "def f(x):\r\n    y = x + 1\r\n    return y\r\n",
    "no final newline": "x = 1\ny = (x + 2)",
    "empty": "",
}


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(AWKWARD)))
def test_a_hole_is_a_contiguous_cut(seed: int, name: str) -> None:
    text = AWKWARD[name]
    hole = draw_hole(SourceFile("p", "p.py", "python", text, "MIT"), random.Random(seed), ContextWidths())
    if hole is None:
        return
    assert hole.prefix + hole.middle + hole.suffix in text
    assert len(hole.middle) <= MAX_HOLE_CHARS
    assert hole.middle.strip() or hole.kind == "empty"
    assert not hole.middle.endswith("\r"), "a cut through CRLF would leave half a line ending in the hole"


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(AWKWARD)))
def test_relatives_are_other_cuts_with_the_same_end(seed: int, name: str) -> None:
    rng = random.Random(seed)
    hole = draw_hole(SourceFile("p", "p.py", "python", AWKWARD[name], "MIT"), rng, ContextWidths())
    if hole is None:
        return
    relatives = draw_relatives(hole, rng, 5)
    assert len({relative.prefix for relative in relatives} | {hole.prefix}) == len(relatives) + 1 <= 6
    for relative in relatives:
        assert relative.prefix + relative.middle == hole.prefix + hole.middle
        assert relative.suffix == hole.suffix and relative.middle.strip() and relative.prefix
        assert not relative.prefix.endswith("\r"), "a cursor does not stand inside a line end"


@given(text=st.text(max_size=300), seed=st.integers(0, 1000))
@settings(max_examples=200)
def test_any_text_gives_a_hole_or_none(text: str, seed: int) -> None:
    for language in ("python", "typescript"):
        hole = draw_hole(SourceFile("p", "p", language, text, "MIT"), random.Random(seed), ContextWidths())
        assert hole is None or hole.prefix + hole.middle + hole.suffix in text
        if hole is not None:
            draw_relatives(hole, random.Random(seed), 5)


def test_all_kinds_are_drawn_and_a_third_starts_mid_line(sources: list[SourceFile]) -> None:
    rng = random.Random(3)
    holes = [hole for _ in range(3000) if (hole := draw_hole(sources[0], rng, ContextWidths()))]
    kinds = Counter(hole.kind for hole in holes)
    assert set(kinds) == {"line", "mid_line", "lines", "node", "span", "empty"}
    inside = [hole for hole in holes if hole.kind == "mid_line"]
    assert all(hole.prefix.rpartition("\n")[2].strip() for hole in inside)
    assert 0.2 < len(inside) / len(holes) < 0.5
    cut_words = [h for h in inside if h.prefix[-1].isidentifier() and h.middle[0].isidentifier()]
    assert cut_words, "some holes must start inside a word"


def test_random_spans_begin_and_end_anywhere(sources: list[SourceFile]) -> None:
    rng = random.Random(5)
    drawn = [hole for _ in range(4000) if (hole := draw_hole(sources[0], rng, ContextWidths()))]
    spans = [hole for hole in drawn if hole.kind == "span" and hole.suffix]
    inside = [h for h in spans if h.middle[-1].isalnum() and h.suffix[0].isalnum()]
    assert len(inside) > 0.2 * len(spans), "a span may end inside a word"
    assert max(hole.middle.count("\n") for hole in spans) == MAX_HOLE_LINES - 1
    assert any("\n" not in hole.middle for hole in spans)


@pytest.mark.parametrize("text", [AWKWARD["emoji"], AWKWARD["crlf"], AWKWARD["tabs"], 'x = "🎉"; y = call(x)\n'])
def test_node_spans_are_nodes(text: str) -> None:
    import ast

    spans = python_node_spans(text, 320, 6)
    assert spans
    for start, end in spans:
        piece = text[start:end].replace("\r\n", "\n")
        ast.parse("def f():\n" + "\n".join("  " + line for line in piece.split("\n")) if "return" in piece else piece)


def test_line_offsets_count_utf8_columns() -> None:
    assert LineOffsets("é = 1\nx🎉y").offset(2, 5) == len("é = 1\nx🎉")


def test_bracket_spans_match_pairs() -> None:
    text = "f(a, g[1]) { return 1; } ("
    assert [text[start:end] for start, end in bracket_spans(text, 320, 6)] == ["a, g[1]", " return 1; "]


def test_context_widths_bound_what_is_shown(sources: list[SourceFile]) -> None:
    widths = ContextWidths(min_prefix=4, max_prefix=10, min_suffix=4, max_suffix=8, no_suffix_share=0.5)
    rng = random.Random(0)
    holes = [hole for _ in range(400) if (hole := draw_hole(sources[0], rng, widths))]
    assert max(len(hole.prefix) for hole in holes) <= 33
    assert max(len(hole.suffix) for hole in holes) <= 27
    assert any(not hole.suffix for hole in holes)
