"""A stand-in for `model_runtime.Runtime` that answers as a test says, for the command line's own tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

import model_runtime
from model_runtime import (
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    RepairRequest,
    RuntimeConfig,
    Timings,
)

TIMINGS = Timings(total_ms=12.5)


@dataclass
class Script:
    """What the model says, and what it was asked. `requests` grows with every call."""

    middle: str = "42"
    rewrite: Callable[[str], str] = str.upper
    """Applied to the text between start and end of an edit."""
    outside: str = ""
    """Put before the whole text by a misbehaving edit."""
    edit_finish: FinishReason = "end"
    error_at: dict[int, BaseException] = field(default_factory=dict)
    """Request number (from 0) -> what it raises instead of answering."""
    requests: list[CompletionRequest | GenerateRequest | EditRequest] = field(default_factory=list)
    repairs: list[RepairRequest] = field(default_factory=list)
    configs: list[RuntimeConfig] = field(default_factory=list)
    closed: int = 0

    def take(self, request: CompletionRequest | GenerateRequest | EditRequest) -> None:
        self.requests.append(request)
        error = self.error_at.get(len(self.requests) - 1)
        if error is not None:
            raise error

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Script:
        """Make `model_runtime.Runtime` answer from this script for the length of a test."""
        script = self

        class Runtime(ScriptedRuntime):
            @classmethod
            def load(cls, config: RuntimeConfig, progress: Callable[[str, float], None] | None = None) -> Runtime:
                script.configs.append(config)
                if progress is not None:
                    progress("reading weights", 1.0)
                return cls(script)

        monkeypatch.setitem(model_runtime.__dict__, "Runtime", Runtime)
        return script


class ScriptedRuntime:
    """The Runtime facade over a Script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.info = ModelInfo("scripted", "none", 1_000_000, 256, 1024, "cpu", "float32", "nowhere", "0" * 64, 1)

    def warm_up(self) -> None:
        pass

    def complete(self, request: CompletionRequest) -> CompletionResult:
        self.script.take(request)
        finish: FinishReason = "end" if self.script.middle else "low_confidence"
        return CompletionResult(self.script.middle, finish, tokens=3, forwards=2, confidence=0.5, timings=TIMINGS)

    def generate(self, request: GenerateRequest) -> GenerateResult:
        self.script.take(request)
        return GenerateResult(request.prompt[::-1], "end", tokens=3, forwards=2, timings=TIMINGS)

    def edit(self, request: EditRequest) -> Iterator[EditStep]:
        self.script.take(request)
        end = len(request.text) if request.end is None else request.end
        inside = self.script.rewrite(request.text[request.start : end])
        text = self.script.outside + request.text[: request.start] + inside + request.text[end:]
        yield EditStep(request.text, request.start, False, "length", 1, 1, TIMINGS)
        yield EditStep(text, len(text), True, self.script.edit_finish, tokens=9, forwards=4, timings=TIMINGS)

    def repair(self, request: RepairRequest) -> Iterator[EditStep]:
        yield from self.edit(
            EditRequest(
                request.text, "repair", request.start, request.end, pinned=request.pinned, params=request.params
            )
        )
        self.script.repairs.append(request)

    def latency_curve(self, rows: Sequence[int], context: int = 512, repeats: int = 5) -> dict[int, float]:
        return {row: 10.0 + row for row in rows}

    def close(self) -> None:
        self.script.closed += 1


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """A fresh script, already answering."""
    return Script().install(monkeypatch)
