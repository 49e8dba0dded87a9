"""Ask every case, run its tests, record the sample, sum up. Knows no benchmark and no model by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model_runtime.errors import Cancelled, RuntimeFailure
from model_runtime.evaluation.cases import Answer, Case
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.results import RunFolder, Sample, summarise, summarise_by_language
from model_runtime.evaluation.sandbox import Execution, isolation
from model_runtime.evaluation.scoring import edit_similarity
from model_runtime.evaluation.solvers import Solver
from model_runtime.evaluation.toolchains import missing_tools, run_tests

TestRunner = Callable[[str, str], Execution]


@dataclass(frozen=True, slots=True)
class Runnable:
    """The cases that can run here, and why the others cannot."""

    cases: list[Case]
    skipped: dict[str, str]
    """Language -> reason, with the number of cases left out."""


def runnable(cases: Sequence[Case]) -> Runnable:
    """Leave out the languages whose tools are not on this machine."""
    counts = Counter(case.language for case in cases if case.has_tests)
    reasons = {language: reason for language in counts if (reason := missing_tools(language))}
    kept = [case for case in cases if not case.has_tests or case.language not in reasons]
    return Runnable(kept, {name: f"{counts[name]} cases: {reason}" for name, reason in reasons.items()})


def run_cases(
    cases: Sequence[Case],
    solver: Solver,
    folder: RunFolder,
    already: Sequence[Sample] = (),
    run: TestRunner = run_tests,
) -> dict[str, Any]:
    """Answer the cases not yet in `already`, append each to the folder; returns and writes the summary."""
    samples = {sample.case_id: sample for sample in already}
    bar = ProgressBar(len(cases) - sum(case.case_id in samples for case in cases), folder.path.name)
    try:
        for case in cases:
            if case.case_id not in samples:
                sample = answer_case(case, solver, run)
                folder.append(sample)
                samples[case.case_id] = sample
                bar.advance(f"{sum(s.passed for s in samples.values())} passed")
    finally:
        bar.close()
    chosen = [samples[case.case_id] for case in cases]
    summary = summarise(chosen)
    summary["by_language"] = summarise_by_language(chosen)
    if any(case.has_tests for case in cases):
        summary["isolation"] = isolation().description
    folder.write_summary(summary)
    return summary


def answer_case(case: Case, solver: Solver, run: TestRunner = run_tests) -> Sample:
    """One sample. An error of the runtime is recorded as a failed case, not raised; a cancellation is raised."""
    try:
        answer = solver.solve(case)
    except Cancelled:
        raise
    except RuntimeFailure as error:
        return _sample(case, Answer(""), "error", False, f"{type(error).__name__}: {error}")
    if not case.has_tests:
        is_exact = _is_exact(answer.text, case.expected)
        return _sample(case, answer, "exact" if is_exact else "different", bool(is_exact), "")
    execution = run(case.language, case.program(answer.text))
    return _sample(case, answer, execution.outcome, execution.outcome == "passed", execution.output[-400:])


def _sample(case: Case, answer: Answer, outcome: str, passed: bool, detail: str) -> Sample:
    return Sample(
        case_id=case.case_id,
        language=case.language,
        outcome=outcome,
        passed=passed,
        answer=answer.text,
        tokens=answer.tokens,
        forwards=answer.forwards,
        ms=round(answer.ms, 2),
        denoise_ms=round(answer.denoise_ms, 2),
        finish_reason=answer.finish_reason,
        exact=_is_exact(answer.text, case.expected),
        similarity=_similarity(answer.text, case.expected),
        detail="" if passed else detail,
    )


def _is_exact(answer: str, expected: str | None) -> bool | None:
    return None if expected is None else answer.strip() == expected.strip()


def _similarity(answer: str, expected: str | None) -> float | None:
    return None if expected is None else round(edit_similarity(answer.strip(), expected.strip()), 4)
