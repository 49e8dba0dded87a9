"""Scripted stand-ins for the runtime: they answer from a table and can be wrong or slow on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from model_runtime.api import (
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    GenerateRequest,
    GenerateResult,
    SamplingParams,
    ShouldStop,
    Timings,
    never_stop,
)

TOKENS_A_FORWARD = {"ar": 1, "lossless": 3, "fast": 4}


@dataclass
class ScriptedDecoder:
    """`answer` maps what was asked (prefix, prompt or text) to the answer; a word counts as a token."""

    answer: Callable[[str], str]
    step_seconds: float = 0.0
    params: list[SamplingParams] = field(default_factory=list)

    def complete(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> CompletionResult:
        text, tokens, forwards, timings = self._decode(request.prefix, request.params, should_stop)
        return CompletionResult(text, "end", tokens, forwards, confidence=1.0, timings=timings)

    def generate(self, request: GenerateRequest, should_stop: ShouldStop = never_stop) -> GenerateResult:
        text, tokens, forwards, timings = self._decode(request.prompt, request.params, should_stop)
        for stop in request.stop_strings:
            if stop in text:
                return GenerateResult(text[: text.index(stop)], "stop_rule", tokens, forwards, timings)
        return GenerateResult(text, "end", tokens, forwards, timings)

    def edit(self, request: EditRequest, should_stop: ShouldStop = never_stop) -> Iterator[EditStep]:
        text, tokens, forwards, timings = self._decode(request.text, request.params, should_stop)
        yield EditStep(request.text, 0, False, "end", 0, 0)
        yield EditStep(text, len(text), True, "end", tokens, forwards, timings)

    def _decode(self, asked: str, params: SamplingParams, should_stop: ShouldStop) -> tuple[str, int, int, Timings]:
        self.params.append(params)
        text = self.answer(asked)
        tokens = max(1, len(text.split()))
        forwards = -(-tokens // TOKENS_A_FORWARD[params.policy])
        started = time.perf_counter()
        for step in range(forwards):
            if should_stop():
                forwards = step
                break
            time.sleep(self.step_seconds)
        milliseconds = (time.perf_counter() - started) * 1000 + 0.001
        # Reading the prompt takes one step's time, however long it is.
        prefill = self.step_seconds * 1000
        timings = Timings(prefill, denoise_ms=milliseconds, total_ms=milliseconds, prompt_tokens=len(asked) // 4)
        return text, tokens, forwards, timings
