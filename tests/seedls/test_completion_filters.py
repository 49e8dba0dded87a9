from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedls import completion_filters
from seedls.completion_filters import (
    Place,
    cut_repetition,
    cut_template_tokens,
    cut_weak_lines,
    drop_unfinished_line,
    filter_completion,
    indent_unit,
    keep_parsable,
    repair_indentation,
    trim_duplicate_closers,
    trim_repeated_suffix,
)
from seedls.syntax import parse
from tests.seedls.texts import texts
from tests.support.cases import Case, case_files, check_case

FOLDER = "inline_completion"


def place(marked: str) -> Place:
    before, _, after = marked.partition("|")
    return Place(before, after)


def filtered(case: Case) -> str:
    """What a case file's `model` section becomes: the buffer after accepting it, or why nothing was shown."""
    where = place(case.sections["buffer"])
    options = case.options
    result = filter_completion(
        case.sections["model"],
        where,
        is_multi_line=options.get("lines", "many") == "many",
        indent_unit=indent_unit(where.before + where.after),
        tree=parse(options.get("language", "python"), where.before + where.after),
    )
    return f"{where.before}{result.text}{where.after}" if result.text else f"(quiet: {result.reason})\n"


@pytest.mark.parametrize("case", case_files(FOLDER), ids=lambda case: case.name)
def test_case(case: Case, request: pytest.FixtureRequest) -> None:
    check_case(case, filtered(case), update=request.config.getoption("--update-cases"))


@given(texts, texts, texts, st.booleans())
def test_no_text_breaks_a_filter_and_parsable_buffers_stay_parsable(
    before: str, after: str, model: str, is_multi_line: bool
) -> None:
    before, after, model = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (before, after, model))
    where = Place(before, after)
    tree = parse("python", before + after)
    assert tree is not None
    result = filter_completion(model, where, is_multi_line=is_multi_line, indent_unit="    ", tree=tree)
    assert bool(result.text) != bool(result.reason)
    if not is_multi_line:
        assert "\n" not in result.text
    if result.text:
        shown = parse("python", before + result.text + after)
        assert shown is not None
        assert shown.count_errors() <= tree.count_errors()


@pytest.mark.parametrize(
    ("probabilities", "kept"), [((0.9, 0.9, 0.9), "ab\ncd\nef"), ((0.9, 0.1, 0.9), "ab\n"), ((0.1, 0.9, 0.9), "")]
)
def test_lines_are_kept_up_to_the_first_weak_one(probabilities: tuple[float, ...], kept: str) -> None:
    assert cut_weak_lines("ab\ncd\nef", (3, 6, 8), probabilities, 0.5) == kept


def test_a_line_is_as_sure_as_the_geometric_mean_of_its_tokens() -> None:
    assert cut_weak_lines("abcd", (2, 4), (0.9, 0.4), 0.5) == "abcd"  # mean 0.6
    assert cut_weak_lines("abcd", (2, 4), (0.9, 0.2), 0.5) == ""  # mean 0.42
    assert cut_weak_lines("abcd", (), (), 0.5) == "abcd"  # unknown is not weak
    assert cut_weak_lines("abcd", (4,), (0.0,), 0.0) == "abcd"  # 0 shows everything


def test_an_unfinished_last_line_is_dropped_only_behind_whole_ones() -> None:
    assert drop_unfinished_line("x = 1\ny = fo") == "x = 1"
    assert drop_unfinished_line("x = fo") == "x = fo"


@pytest.mark.parametrize("token", ["<|fim_suffix|>", "<|endoftext|>", "</s>", "<|im_end|>"])
def test_template_tokens_never_leak(token: str) -> None:
    assert cut_template_tokens(f"x = 1{token}rest") == "x = 1"
    assert cut_template_tokens("a < b | c > d") == "a < b | c > d"


@pytest.mark.parametrize(
    ("marked", "model", "shown"),
    [
        ("foo(|)", "a, b)", "a, b"),
        ("foo(|)", "bar(1)", "bar(1)"),
        ("foo(|)", "bar(1))", "bar(1)"),
        ("x = [f(|)]", "1)]", "1"),
        ("x = '|'", "text'", "text"),
        ("x = |", "f(1)", "f(1)"),
    ],
)
def test_duplicate_closers(marked: str, model: str, shown: str) -> None:
    assert trim_duplicate_closers(model, place(marked)) == shown


@pytest.mark.parametrize(
    ("marked", "model", "shown"),
    [
        ("x = |\nreturn x\n", "1\nreturn x\n", "1"),
        ("x = | + total", "a + total", "a"),
        ("|\nreturn total\n", "return total", ""),
        ("x = 1|\n)\n", "\n)", "\n)"),
        ("a = |\nfoo()\nbar()\n", "1\nfoo()\nother()\n", "1\nfoo()\nother()\n"),
    ],
)
def test_repeated_suffix(marked: str, model: str, shown: str) -> None:
    assert trim_repeated_suffix(model, place(marked)) == shown


@pytest.mark.parametrize(
    ("marked", "model", "unit", "shown"),
    [
        ("def f():\n    |", "    return 1", "    ", "return 1"),
        ("def f():\n    |", "return 1", "    ", "return 1"),
        ("def f():\n|", "    return 1", "    ", "    return 1"),
        ("    if a:\n        |", "for b in c:\n    d", "    ", "for b in c:\n            d"),
        ("    |", "for b in c:\n        d", "    ", "for b in c:\n        d"),
        ("\tif a:\n\t\t|", "for b in c:\n\td", "\t", "for b in c:\n\t\t\td"),
        ("if a:\n    b\n    |", "if c:\n        d\n", "    ", "if c:\n        d\n"),
    ],
)
def test_indentation(marked: str, model: str, unit: str, shown: str) -> None:
    assert repair_indentation(model, place(marked), unit) == shown


def test_a_line_over_and_over_is_kept_once() -> None:
    assert cut_repetition("a\nb\nb\nb\nb") == "a\nb"
    assert cut_repetition("a\na\nb") == "a\na\nb"


@pytest.mark.parametrize(
    ("marked", "model", "shown"),
    [
        ("def f|\n", "(a, b):", "(a, b):"),
        ("def f(a):\n    if |\n", "a is None:", "a is None:"),
        ("if a:\n    pass\nel|\n", "se:", "se:"),
        ("x = |\n", "((1", ""),
        ("x = foo(|\ny = 1\n", "a)", "a)"),
        ("x = foo(|\ny = 1\n", "a", ""),
        ("x = [\n    1,\n    |\n", "2,\n    3,", "2,\n    3,"),
    ],
)
def test_the_line_being_typed_may_be_broken_before_but_not_after(marked: str, model: str, shown: str) -> None:
    where = place(marked)
    tree = parse("python", where.before + where.after)
    assert tree is not None
    assert keep_parsable(model, where, tree) == shown


def test_a_syntax_error_is_cut_to_the_last_good_line_or_withheld() -> None:
    where = place("def f(x):\n    |\n")
    tree = parse("python", where.before + where.after)
    assert tree is not None
    assert keep_parsable("y = x\n    return ((y", where, tree) == "y = x"
    assert keep_parsable("return ((", where, tree) == ""


@pytest.mark.parametrize(
    ("text", "unit"),
    [("", "    "), ("if a:\n  b\n", "  "), ("if a:\n\tb\n", "\t"), ("if a:\n        b\n", "        "), ("x", "    ")],
)
def test_indent_unit(text: str, unit: str) -> None:
    assert indent_unit(text) == unit


BLOCKS = (
    "def f(a):\n    return a\n\n\n",
    "class A:\n    def g(self):\n        return [1,\n            2]\n\n\n",
    'T = """\ntext\n"""\n',
    "x = (1 +\n     2)\n",
    "if x:\n    y()\nelse:\n    z()\n",
    "bad = (\n",
    "def h(:\n    pass\n",
)
BEGUN = ("    result = print", "x = foo(", "s = '", "    ", "y = [", "print(a, b", 't = """', "def k", "z = 1", "if a")
ANSWERS = (
    *("(value)", ")", "]", "'", '"""', "(a):", ": pass", "\n", "1\n2", "s = (", "x'\ny = '", "[1]", "# c"),
    *("(value)\nz = 2", "):\n    pass", ' """\n"""', "'''"),
)
blocks = st.lists(st.sampled_from(BLOCKS), max_size=4).map("".join)


@given(blocks, st.sampled_from(BEGUN), st.sampled_from(ANSWERS), st.sampled_from(("", "\n", " z\n", ")\n")), blocks)
def test_what_is_judged_by_a_few_nodes_holds_for_the_file(
    above: str, line: str, answer: str, end: str, below: str
) -> None:
    """Most places are judged by the nodes around them; the whole file never gets more errors than it had."""
    where = Place(above + line, end + below)
    tree = parse("python", where.before + where.after)
    assert tree is not None
    kept = keep_parsable(answer, where, tree)
    if kept.strip():
        body = completion_filters._body_of_opened_block(where, kept, "python")
        after = tree.reparsed(where.before + kept + body + where.after).count_errors()
        without_line = tree.reparsed(completion_filters._without_cursor_line(where)).count_errors()
        assert after <= min(tree.count_errors(), without_line)
