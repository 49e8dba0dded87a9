"""Where an infill ends: text in, text out. `|` in a case is the cursor; the fed text is what the model would write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.api import StopRules
from model_runtime.diffusion.stops import InfillStops


def run(prefix: str, suffix: str, tokens: list[bytes], rules: StopRules) -> tuple[str, str]:
    """(kept text, reason) after feeding tokens until a finish, then the model's own end."""
    stops = InfillStops(prefix, suffix, rules)
    for token in tokens:
        if (finish := stops.feed(token)) is not None:
            return stops.text[: finish.length], finish.reason
    return stops.text[: stops.finish_at_end()], "end"


def check(document: str, written: str, kept: str, reason: str, rules: StopRules | None = None) -> None:
    """The same text ends at the same place however it is cut into tokens."""
    prefix, suffix = document.split("|")
    raw = written.encode()
    for size in (1, 3, 7, len(raw) or 1):
        tokens = [raw[i : i + size] for i in range(0, len(raw), size)]
        assert run(prefix, suffix, tokens, rules or StopRules()) == (kept, reason), f"in tokens of {size} bytes"


def test_the_models_end_keeps_everything() -> None:
    check("x = |\n", "1 + 2", "1 + 2", "end")


def test_a_repeated_next_line_ends_it() -> None:
    check("a = 1\n|\nreturn a + b\n", "b = 2\nreturn a + b\nprint(3)\n", "b = 2", "suffix")


def test_a_repeated_next_line_without_newline_is_dropped_at_the_end() -> None:
    check("a = 1\n|\nreturn a + b\n", "b = 2\nreturn a + b", "b = 2", "end")


def test_a_longer_line_that_starts_alike_is_no_repetition() -> None:
    check("a = 1\n|\nreturn a + b\n", "return a + b + c\n", "return a + b + c\n", "end")


def test_short_lines_need_two_to_agree() -> None:
    document = "if a:\n    {|\n}\nfoo(1)\n"
    check(document, "x;\n}\nbar\n", "x;\n}\nbar\n", "end")
    check(document, "x;\n}\nfoo(1)\nmore\n", "x;\n}", "suffix")


def test_the_rest_of_the_cursor_line_is_not_repeated() -> None:
    check("print(|)\n", "x, y)", "x, y", "end")
    check("print(|)\n", "x, y)\nprint(z)\n", "x, y", "suffix")


def test_above_a_line_with_text_there_may_be_several_lines() -> None:
    """Whole lines were cut out: the line after them follows the cursor at once (HumanEval-Infilling, several lines)."""
    document = "def f(n):\n|    return total\n"
    lines = "    total = 0\n    for i in n:\n        total += i\n"
    check(document, lines, lines, "end")
    check(document, lines + "    return total\nprint(f)\n", lines, "suffix")
    check(document, lines + "    return total", lines, "end")
    check(document, "    return total\n", "", "suffix")
    check(document, "    return total", "", "end")
    crlf = "a = '🎉'\r\n|\treturn a + '🎉'\r\nb\r\n"
    check(crlf, "\ta += '👋'\r\n\treturn a + '🎉'\r\n", "\ta += '👋'\r\n", "suffix")


def test_above_a_line_whose_indentation_is_typed_the_new_lines_end_with_it() -> None:
    document = "if a:\n    |run_all(a, b)\n"
    check(document, "b = 2\n    run_all(a, b)\n", "b = 2\n    ", "suffix")
    check(document, "b = 2\n    run_all(a, b)", "b = 2\n    ", "end")
    check(document, "b = 2\n    ", "b = 2\n    ", "end")
    check(document, "run_all(a, b)\n", "", "suffix")


def test_a_word_before_the_text_of_a_line_is_one() -> None:
    document = "if a:\n    |run_all(a, b)\n"
    check(document, "await run_all(a, b)\nprint()\n", "await ", "suffix")
    check(document, "await run_all(a, b)", "await ", "end")
    check("foo(\n|)\n", "    bar(1)\n    + 2,\n)\n", "    bar(1)\n    + 2,\n)\n", "end")  # `)` tells nothing


def test_max_lines_counts_lines_with_content() -> None:
    check("def f():|\n", "\n    return 1\n    return 2\n", "\n    return 1", "stop_rule", StopRules(max_lines=1))
    check("x = |\n", "1\ny = 2\n", "1", "stop_rule", StopRules(max_lines=1))


def test_dedent_ends_a_body() -> None:
    rules = StopRules(stop_at_dedent=True)
    check("def f():\n    |", "a = 1\n    return a\n\ndef g():\n", "a = 1\n    return a\n", "stop_rule", rules)


def test_stop_strings_cut_before() -> None:
    check("|", "abc<END>def", "abc", "stop_rule", StopRules(stop_strings=("<END>",)))


def test_a_line_repeated_for_ever_is_cut_to_one() -> None:
    check("|", "foo()\n" * 9, "foo()", "stop_rule")


def test_carriage_returns_and_emoji() -> None:
    check("a = '🎉'\r\n|\r\nreturn value_of(a)\r\n", "b = '🎈'\r\nreturn value_of(a)\r\n", "b = '🎈'", "suffix")


def test_a_character_cut_between_tokens_is_whole_again() -> None:
    stops = InfillStops("", "", StopRules())
    for byte in "🎉é".encode():
        assert stops.feed(bytes([byte])) is None
    assert stops.text == "🎉é"


@pytest.mark.parametrize("suffix", ["", "\n", "\r\n", "\n\n\n", "   \n", "\t)\n", "ab\n", "b🎉b (a){}b\na"])
@given(text=st.text(alphabet="ab (){}\n\r\t:é🎉", max_size=60))
def test_what_is_kept_is_always_a_beginning(suffix: str, text: str) -> None:
    kept, _ = run("def f(x):\n    ", suffix, [text.encode()], StopRules(max_lines=3, stop_at_dedent=True))
    assert text.startswith(kept) or kept == text
