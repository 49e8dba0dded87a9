"""Who answers the cases: the runtime, the reference answers, or nobody (peers are in `speed/peers.py`).

A solver turns a `Case` into an `Answer`. `RuntimeSolver` drives any object with the runtime's three methods, so tests
can script one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from model_runtime.api import (
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    GenerateRequest,
    GenerateResult,
    Policy,
    SamplingParams,
    ShouldStop,
    StopRules,
    never_stop,
)
from model_runtime.errors import RuntimeFailure
from model_runtime.evaluation.cases import Answer, Case

_FENCE = re.compile(r"```[\w+-]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


class Decoder(Protocol):
    """The part of `model_runtime.Runtime` that is measured."""

    def complete(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> CompletionResult: ...

    def generate(self, request: GenerateRequest, should_stop: ShouldStop = never_stop) -> GenerateResult: ...

    def edit(self, request: EditRequest, should_stop: ShouldStop = never_stop) -> Iterator[EditStep]: ...


class Solver(Protocol):
    """Answers one case at a time."""

    def solve(self, case: Case) -> Answer: ...


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """The decoding flags of a run; None leaves the choice to the runtime."""

    policy: Policy = "lossless"
    block: int | None = None
    steps: int | None = None
    accept: float | None = None

    def params(self, max_tokens: int) -> SamplingParams:
        """Greedy sampling parameters with these flags."""
        default = SamplingParams()
        return SamplingParams(
            policy=self.policy,
            max_tokens=max_tokens,
            block_size=self.block,
            max_steps=self.steps,
            accept_threshold=default.accept_threshold if self.accept is None else self.accept,
        )


@dataclass(frozen=True, slots=True)
class RuntimeSolver:
    """Asks the runtime, one request a case."""

    runtime: Decoder
    options: DecodeOptions = DecodeOptions()

    def solve(self, case: Case) -> Answer:
        """Raises RuntimeFailure as the runtime does."""
        started = time.perf_counter()
        if case.kind == "infill":
            answer = self._infill(case)
        elif case.kind == "edit":
            answer = self._edit(case)
        else:
            answer = self._generate(case)
        ms = (time.perf_counter() - started) * 1000
        return Answer(answer.text, answer.tokens, answer.forwards, ms, answer.denoise_ms, answer.finish_reason)

    def _infill(self, case: Case) -> Answer:
        request = CompletionRequest(
            prefix=case.prefix,
            suffix=case.suffix,
            language=case.language,
            stop=StopRules(max_lines=case.max_lines, stop_strings=case.stop_strings),
            params=self.options.params(case.max_tokens),
        )
        result = self.runtime.complete(request)
        timings = result.timings
        return Answer(
            result.text, result.tokens, result.forwards, timings.total_ms, timings.denoise_ms, result.finish_reason
        )

    def _generate(self, case: Case) -> Answer:
        request = GenerateRequest(
            prompt=case.prefix,
            chat=case.chat,
            stop_strings=case.stop_strings,
            params=self.options.params(case.max_tokens),
        )
        result = self.runtime.generate(request)
        text = extract_code(result.text) if case.chat else result.text
        if result.finish_reason == "stop_rule":
            text += case.closing
        timings = result.timings
        return Answer(text, result.tokens, result.forwards, timings.total_ms, timings.denoise_ms, result.finish_reason)

    def _edit(self, case: Case) -> Answer:
        request = EditRequest(
            text=case.prefix,
            instruction=case.instruction,
            language=case.language,
            params=self.options.params(case.max_tokens),
        )
        last: EditStep | None = None
        for step in self.runtime.edit(request):
            last = step
        if last is None:
            raise RuntimeFailure(f"the edit of {case.case_id} gave no step")
        return Answer(
            last.text, last.tokens, last.forwards, last.timings.total_ms, last.timings.denoise_ms, last.finish_reason
        )


class ReferenceSolver:
    """Answers with the reference solution: what the data and the sandbox allow at most."""

    def solve(self, case: Case) -> Answer:
        """Cases without a reference get an empty answer."""
        return Answer(case.expected or "", finish_reason="reference")


class UnchangedSolver:
    """Answers with nothing (an edit stays as it was): every right benchmark scores it near zero."""

    def solve(self, case: Case) -> Answer:
        """The floor."""
        return Answer(case.prefix if case.kind == "edit" else "", finish_reason="unchanged")


def extract_code(text: str) -> str:
    """The first fenced code block of a chat answer, else the whole answer."""
    match = _FENCE.search(text)
    return match.group(1) + "\n" if match else text
