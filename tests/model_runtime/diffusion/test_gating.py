"""Cutting at the first weak line, and knowing early that a line will be weak."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from model_runtime.diffusion.gating import LineGate, confidence, length_of_sure_lines

SURE, WEAK = math.log(0.9), math.log(0.1)


def test_lines_are_kept_up_to_the_first_weak_one() -> None:
    text, ends = "a = 1\nb🎉\r\nc\td", [5, 6, 10, 13]
    assert length_of_sure_lines(text, ends, [SURE, SURE, WEAK, SURE], 0.5) == 6
    assert length_of_sure_lines(text, ends, [SURE, SURE, SURE, WEAK], 0.5) == 10
    assert length_of_sure_lines(text, ends, [WEAK, WEAK, SURE, SURE], 0.5) == 0
    assert length_of_sure_lines(text, ends, [SURE] * 4, 0.5) is None


def test_nothing_is_as_sure_as_nothing() -> None:
    assert length_of_sure_lines("", [], [], 0.5) is None
    assert confidence([]) == 0.0
    assert math.isclose(confidence([SURE, WEAK]), 0.3)


@given(st.lists(st.floats(-8, 0), min_size=1, max_size=20), st.floats(0.05, 0.95))
def test_a_hopeless_line_is_one_that_no_certain_rest_would_save(log_probs: list[float], minimum: float) -> None:
    gate = LineGate(minimum)
    for i, each in enumerate(log_probs):
        if gate.feed(b"x", each):
            rest = [0.0] * max(0, 12 - i - 1)
            assert confidence(log_probs[: i + 1] + rest) < minimum
            return


def test_a_new_line_starts_anew_and_no_minimum_gates_nothing() -> None:
    gate = LineGate(0.5)
    assert not gate.feed(b"x", -6.0)
    assert not gate.feed(b"\n", -2.0)
    assert not gate.feed(b"x", -6.0)
    assert gate.feed(b"x", -6.0)
    assert not any(LineGate(0.0).feed(b"x", -1e6) for _ in range(20))
