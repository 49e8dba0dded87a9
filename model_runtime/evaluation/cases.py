"""What a benchmark asks (`Case`), what a solver answers (`Answer`), and the sampling rule for subsets.

Knows neither files nor the runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["generate", "infill", "edit"]


@dataclass(frozen=True, slots=True)
class Case:
    """One question and how its answer is scored.

    The program that decides is `head + answer + tail`, run as `language`; without `has_tests` only the text is scored.
    """

    case_id: str
    kind: Kind
    language: str
    prefix: str = ""
    """generate: the prompt; infill: the text before the hole; edit: the text to change."""
    suffix: str = ""
    instruction: str = ""
    """edit: what to do."""
    chat: bool = False
    """generate: through the model's chat layout; the code is taken out of the answer's fence."""
    expected: str | None = None
    """The reference answer, for exact match and edit similarity."""
    head: str = ""
    tail: str = ""
    has_tests: bool = True
    stop_strings: tuple[str, ...] = ()
    closing: str = ""
    """Appended when a stop string ended the answer: the stop rule swallowed it (a closing brace)."""
    max_tokens: int = 256
    max_lines: int | None = None

    def program(self, answer: str) -> str:
        """The source text to run for this answer."""
        return f"{self.head}{answer}{self.tail}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A solver's answer and what it cost."""

    text: str
    tokens: int = 0
    forwards: int = 0
    ms: float = 0.0
    """Wall time of the whole request."""
    denoise_ms: float = 0.0
    """Part of `ms` after the prompt was in the cache; 0 where the solver cannot tell."""
    finish_reason: str = ""


SAMPLING_RULE = "cases ordered by sha256('SEED:ID'), the first N taken"


def sample(cases: Iterable[Case], limit: int | None, seed: int = 0) -> list[Case]:
    """Order by sha256 of `seed:id` and keep the first `limit`.

    The same seed gives the same cases in the same order on every machine, and a larger limit only adds cases.
    """
    ordered = sorted(cases, key=lambda case: hashlib.sha256(f"{seed}:{case.case_id}".encode()).digest())
    return ordered if limit is None else ordered[:limit]


def cases_digest(cases: Iterable[Case]) -> str:
    """One short digest of all cases, so that results over different data are never mixed."""
    digest = hashlib.sha256()
    for case in sorted(cases, key=lambda case: case.case_id):
        digest.update(repr(case).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
