from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model_runtime.evaluation.cases import Case, cases_digest, sample


def _cases(count: int) -> list[Case]:
    return [Case(f"case/{index}", "infill", "python") for index in range(count)]


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 5))
def test_a_larger_sample_only_adds_cases(total: int, limit: int, seed: int) -> None:
    cases = _cases(total)
    smaller, larger = sample(cases, limit, seed), sample(cases, limit + 3, seed)
    assert larger[: len(smaller)] == smaller
    assert len(smaller) == min(limit, total)
    assert sample(reversed(cases), limit, seed) == smaller


def test_the_sampling_rule_never_changes() -> None:
    # Published figures name this rule: a change here makes them incomparable.
    assert [case.case_id for case in sample(_cases(20), 5)] == ["case/6", "case/15", "case/8", "case/9", "case/17"]
    assert sample(_cases(20), 5, seed=1) != sample(_cases(20), 5)


def test_digest_depends_on_content_not_order() -> None:
    cases = _cases(3)
    assert cases_digest(cases) == cases_digest(cases[::-1])
    assert cases_digest(cases) != cases_digest(cases[:2])


def test_program_is_head_answer_tail() -> None:
    assert Case("x", "infill", "python", head="a", tail="c").program("b") == "abc"
