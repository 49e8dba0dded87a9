"""What an adapter is worth in the real decoder: tokens a forward, and whether the text is right, on held-out cases.

Loads the runtime as a user would, from a folder that links to the base and holds the adapters to be measured, and asks
it for completions, edits and repairs. Knows the runtime's public interface, nothing of networks.
"""

from __future__ import annotations

import difflib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model_runtime.api import CompletionRequest, EditRequest, Policy, SamplingParams
from model_runtime.config import Precision, RuntimeConfig
from model_runtime.errors import RequestError
from model_runtime.runtime import Runtime
from model_runtime.training.data.edits import EditPair, draw_edit, function_texts, make_pair
from model_runtime.training.data.fim import ContextWidths, Hole, draw_hole
from model_runtime.training.data.packages import SourceFile

CaseSet = Literal["completion", "edit", "repair"]
CASE_SETS: tuple[CaseSet, ...] = ("completion", "edit", "repair")
MAX_HOLE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Case:
    """A hole to fill (no instruction), or a text to be changed as the instruction says."""

    case_set: CaseSet
    prefix: str
    suffix: str
    truth: str
    instruction: str = ""
    language: str = "python"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the decoder made of a case."""

    text: str
    tokens: int
    forwards: int


@dataclass(frozen=True, slots=True)
class SetFigures:
    """One set of cases under one adapter."""

    cases: int
    tokens_per_forward: float
    exact: float
    similarity: float
    """Of characters, 0-1, mean."""


def held_out_cases(
    sources: Sequence[SourceFile], per_set: int, seed: int, sets: Sequence[CaseSet] = CASE_SETS
) -> list[Case]:
    """The same cases for the same seed: holes, edit pairs, and functions with a planted bug."""
    python = [source for source in sources if source.language == "python"]
    draw: dict[CaseSet, Callable[[random.Random], Case | None]] = {
        "completion": lambda rng: _hole_case(draw_hole(rng.choice(list(sources)), rng, ContextWidths())),
        "edit": lambda rng: _edit_case("edit", draw_edit(rng.choice(python), rng)),
        "repair": lambda rng: _edit_case("repair", _planted_bug(rng.choice(python), rng)),
    }
    cases: list[Case] = []
    for name in sets:
        rng = random.Random(f"{name}:{seed}")
        found: list[Case] = []
        for _ in range(400 * per_set):
            case = draw[name](rng)
            if case is not None:
                found.append(case)
            if len(found) == per_set:
                break
        if len(found) < per_set:
            raise RequestError(f"the held-out files give only {len(found)} {name} cases, {per_set} were asked for")
        cases += found
    return cases


def _hole_case(hole: Hole | None) -> Case | None:
    if hole is None or not hole.middle.strip():
        return None
    return Case("completion", hole.prefix, hole.suffix, hole.middle, language=hole.language)


def _edit_case(case_set: CaseSet, pair: EditPair | None) -> Case | None:
    if pair is None:
        return None
    return Case(case_set, pair.before, "", pair.after, pair.instruction, pair.language)


def _planted_bug(source: SourceFile, rng: random.Random) -> EditPair | None:
    texts = function_texts(source.text)
    return make_pair(rng.choice(texts), "mutate", rng) if texts else None


@contextmanager
def runtime_with(
    base: Path, healing: Path | None, mask: Path | None, precision: Precision, threads: int | None
) -> Iterator[Runtime]:
    """The runtime over a base with exactly these adapters; closed and cleaned up afterwards."""
    with tempfile.TemporaryDirectory(prefix="seedls-figures-") as name:
        folder = Path(name) / "figures"  # kept rows go by the folder's name: the same one each time, or they pile up
        folder.mkdir()
        for file in base.iterdir():
            if file.name not in ("healing.safetensors", "mask.safetensors"):
                (folder / file.name).symlink_to(file.resolve())
        for kind, adapter in (("healing", healing), ("mask", mask)):
            if adapter is not None:
                shutil.copyfile(adapter, folder / f"{kind}.safetensors")
        runtime = Runtime.load(RuntimeConfig(model=str(folder), precision=precision, threads=threads))
        try:
            yield runtime
        finally:
            runtime.close()


def answer(runtime: Runtime, case: Case, policy: Policy, max_tokens: int) -> Answer:
    """Decode one case, at most so many tokens of it."""
    params = SamplingParams(policy=policy, max_tokens=max_tokens)
    if not case.instruction:
        params = replace(params, max_tokens=min(max_tokens, MAX_HOLE_TOKENS))
        result = runtime.complete(CompletionRequest(case.prefix, case.suffix, language=case.language, params=params))
        return Answer(result.text, result.tokens, result.forwards)
    *_, last = runtime.edit(EditRequest(case.prefix, case.instruction, language=case.language, params=params))
    return Answer(last.text, last.tokens, last.forwards)


def set_figures(cases: Sequence[Case], answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    """Figures of each set of cases, as plain values."""
    figures: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(case.case_set for case in cases):
        own = [(case, got) for case, got in zip(cases, answers, strict=True) if case.case_set == name]
        similar = [difflib.SequenceMatcher(None, got.text, case.truth, autojunk=False).ratio() for case, got in own]
        exact = sum(got.text.rstrip("\n") == case.truth.rstrip("\n") for case, got in own)
        figures[name] = asdict(
            SetFigures(
                cases=len(own),
                tokens_per_forward=round(sum(a.tokens for _, a in own) / max(1, sum(a.forwards for _, a in own)), 3),
                exact=round(exact / len(own), 3),
                similarity=round(sum(similar) / len(own), 3),
            )
        )
    return figures
