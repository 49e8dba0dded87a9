"""Milliseconds to one useful line, ours and the peers': cold, repeated, and while the line is being typed.

Every solver gets the same holes in the same order, one case after the other within a round, so that a machine that
gets slower for a minute hurts all alike. The ratio is of medians of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from model_runtime.evaluation.cases import Answer, Case
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.solvers import Solver
from model_runtime.evaluation.speed.timing import Spread

TYPED = (1, 3, 5, 8)
"""Characters of the wanted line that are typed when a completion is asked for."""


@dataclass(slots=True)
class _Answers:
    """What one solver did: by kind, and whether the line came out right."""

    cold: list[Answer] = field(default_factory=list)
    """A prompt that no cache has seen."""
    repeated: list[Answer] = field(default_factory=list)
    """The same prompt again."""
    typing: list[Answer] = field(default_factory=list)
    """The cursor a few characters further in the same line."""
    exact: list[bool] = field(default_factory=list)
    exact_typing: list[bool] = field(default_factory=list)


def measure_lines(solvers: Mapping[str, Solver], cases: Sequence[Case], rounds: int) -> dict[str, dict[str, Any]]:
    """Solver name -> figures; the first is ours, the others get `runtime_is_faster_*` ratios (theirs / ours)."""
    answers = {name: _Answers() for name in solvers}
    bar = ProgressBar(rounds * len(cases) * len(solvers), "lines")
    for index in range(rounds):
        for case in cases:
            # A first line that no cache has seen makes the whole prompt new.
            new = replace(case, prefix=f"# run {index}: {case.case_id}\n{case.prefix}")
            for name, solver in solvers.items():
                _ask(solver, new, answers[name])
                bar.advance(name)
    bar.close()
    figures = {name: _figures(found) for name, found in answers.items()}
    ours, *_ = figures.values()
    for theirs in list(figures.values())[1:]:
        for kind in ("cold", "repeated", "typing"):
            theirs[f"runtime_is_faster_{kind}"] = _ratio(theirs[f"{kind}_ms"], ours[f"{kind}_ms"])
        theirs["runtime_tokens_per_second_ratio"] = _ratio(ours["tokens_per_second"], theirs["tokens_per_second"])
    return figures


def _ask(solver: Solver, case: Case, found: _Answers) -> None:
    found.cold.append(solver.solve(case))
    found.repeated.append(solver.solve(case))
    found.exact.append(_same_line(found.cold[-1].text, case))
    for typed in _typed(case):
        found.typing.append(solver.solve(typed))
        found.exact_typing.append(_same_line(found.typing[-1].text, typed))


def _typed(case: Case) -> Iterator[Case]:
    expected = case.expected or ""
    for count in TYPED:
        if count < len(expected):
            yield replace(case, prefix=case.prefix + expected[:count], expected=expected[count:])


def _same_line(text: str, case: Case) -> bool:
    return text.split("\n")[0].strip() == (case.expected or "").strip()


def _figures(found: _Answers) -> dict[str, Any]:
    everything = [*found.cold, *found.repeated, *found.typing]
    tokens = sum(answer.tokens for answer in everything)
    # The first token comes out of the prompt's own forward: what is timed after it is one token fewer for a peer.
    seconds = sum(answer.denoise_ms or answer.ms for answer in everything) / 1000
    typing = Spread.of([answer.ms for answer in found.typing])
    return {
        "cold_ms": round(Spread.of([answer.ms for answer in found.cold]).median, 1),
        "repeated_ms": round(Spread.of([answer.ms for answer in found.repeated]).median, 1),
        "typing_ms": round(typing.median, 1),
        "typing_quartiles": [round(typing.low, 1), round(typing.high, 1)],
        "tokens_per_second": round(tokens / seconds, 2) if seconds else None,
        "tokens_per_line": round(tokens / len(everything), 2),
        "exact": _share(found.exact),
        "exact_typing": _share(found.exact_typing),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return round(sum(flags) / len(flags), 3) if flags else None


def _ratio(top: float | None, bottom: float | None) -> float | None:
    return round(top / bottom, 3) if top and bottom else None
