"""A scripted engine with the same protocol as the real one: planned text out, controllable delay, calls recorded.

Only tests use it, through `create_server(engine_factory)`; no product flag leads here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedls.engine import (
    Cancelled,
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    EngineFailed,
    EngineState,
    LoadProgress,
    RequestError,
    ShouldStop,
)

_STEP_S = 0.005


@dataclass(frozen=True)
class PlannedCompletion:
    """The answer to requests whose prefix ends with `after` (any prefix when empty)."""

    text: str
    after: str = ""
    confidence: float = 0.9
    others: tuple[str, ...] = ()
    """Texts of further candidates."""
    token_ends: tuple[int, ...] = ()
    token_probs: tuple[float, ...] = ()
    finish_reason: Any = "end"
    delay_s: float = 0.0
    error: str = ""
    """`request` raises RequestError, `broken` breaks the engine."""


@dataclass(frozen=True)
class PlannedEdit:
    """Replace `old` by `new` inside the range, for instructions that contain `instruction`."""

    old: str = ""
    new: str = ""
    instruction: str = ""
    whole_text: str | None = None
    """Answer this as the whole text instead: lets a test break the engine's promises."""
    steps: tuple[str, ...] = ()
    """Whole texts of the steps before the last."""
    step_s: float = 0.0
    """How long each of them takes."""
    finish_reason: Any = "end"
    delay_s: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Script:
    """What the engine will do."""

    completions: tuple[PlannedCompletion, ...] = ()
    edits: tuple[PlannedEdit, ...] = ()
    load_delay_s: float = 0.0
    load_errors: tuple[str, ...] = ()
    """Messages of the first loads; an empty string means that this load works."""
    record: str = ""
    """File that gets one JSON line for each call."""

    @classmethod
    def from_json(cls, text: str) -> Script:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        raw["completions"] = tuple(PlannedCompletion(**one) for one in raw.get("completions", ()))
        raw["edits"] = tuple(PlannedEdit(**{**one, "steps": tuple(one["steps"])}) for one in raw.get("edits", ()))
        raw["load_errors"] = tuple(raw.get("load_errors", ()))
        return cls(**raw)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self, default=lambda value: value.__dict__)


@dataclass
class FakeEngine:
    """See the module docstring. `loads` is shared by engines made from one factory.

    A script given as a path is read at every call, so that a test can change the plan of a running server.
    """

    source: Script | Path
    state: EngineState = "unloaded"
    message: str = "the model is not loaded yet"
    calls: list[dict[str, Any]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    @property
    def script(self) -> Script:
        """The plan now."""
        if isinstance(self.source, Path):
            return Script.from_json(self.source.read_text(encoding="utf-8"))
        return self.source

    def load(self, progress: LoadProgress) -> None:
        self.state, self.message = "loading", "loading model 'fake'"
        number = len(self.loads)
        self.loads.append(time.monotonic())
        self._record({"call": "load"})
        progress("reading", 0.1)
        time.sleep(self.script.load_delay_s)
        error = self.script.load_errors[number] if number < len(self.script.load_errors) else ""
        if error:
            self.state, self.message = "failed", error
            raise EngineFailed(error)
        progress("warming up", 0.9)
        self.state, self.message = "ready", "fake"

    def complete(self, request: CompletionRequest, should_stop: ShouldStop) -> CompletionResult:
        planned = _first(self.script.completions, lambda one: request.prefix.endswith(one.after))
        call = {"call": "complete", "prefix": request.prefix, "suffix": request.suffix, "path": request.path}
        call["max_lines"] = request.stop.max_lines
        call["temperature"] = request.params.temperature
        call["policy"] = request.params.policy
        call["deadline_ms"] = request.params.deadline_ms
        call["draft"] = request.draft
        call["snippets"] = [[snippet.path, snippet.text] for snippet in request.snippets]
        if planned is None:
            self._record(call)
            return CompletionResult("", "end", 1, 1, 1.0)
        self._wait(planned.delay_s, should_stop, call, planned.error)
        text = planned.text
        return CompletionResult(
            text,
            planned.finish_reason,
            max(1, len(text) // 4),
            1,
            planned.confidence,
            planned.token_ends,
            planned.token_probs,
        )

    def candidates(self, request: CompletionRequest, count: int, should_stop: ShouldStop) -> list[CompletionResult]:
        planned = _first(self.script.completions, lambda one: request.prefix.endswith(one.after))
        self._record({"call": "candidates", "count": count, "draft": request.draft})
        texts = () if planned is None else (planned.text, *planned.others)[:count]
        return [CompletionResult(text, "end", 3, 1, 0.9) for text in texts]

    def read_ahead(self, request: CompletionRequest, should_stop: ShouldStop) -> int:
        planned = _first(self.script.completions, lambda one: request.prefix.endswith(one.after))
        call = {"call": "read_ahead", "prefix": request.prefix, "suffix": request.suffix}
        call["deadline_ms"] = request.params.deadline_ms
        delay_s, error = (planned.delay_s, planned.error) if planned is not None else (0.0, "")
        self._wait(delay_s, should_stop, call, error)
        return len(request.prefix)

    def edit(self, request: EditRequest, should_stop: ShouldStop) -> Iterator[EditStep]:
        planned = _first(self.script.edits, lambda one: one.instruction in request.instruction)
        call = {"call": "edit", "instruction": request.instruction, "start": request.start, "end": request.end}
        call["diagnostics"] = list(request.diagnostics)
        call["pinned"] = [list(span) for span in request.pinned]
        end = len(request.text) if request.end is None else request.end
        region = request.text[request.start : end]
        yield EditStep(request.text, request.start, False, "end", 0, 0)
        if planned is None:
            self._record(call)
            yield EditStep(request.text, end, True, "end", 1, 1)
            return
        for number, text in enumerate(planned.steps):
            time.sleep(planned.step_s)
            if should_stop():
                yield EditStep(text, request.start, True, "cancelled", number, number)
                return
            done = request.start + (end - request.start) * (number + 1) // (len(planned.steps) + 1)
            yield EditStep(text, done, False, "length", number + 1, number + 1)
        self._wait(planned.delay_s, should_stop, call, planned.error)
        text = request.text[: request.start] + region.replace(planned.old, planned.new) + request.text[end:]
        yield EditStep(planned.whole_text or text, end, True, planned.finish_reason, 5, 2)

    def close(self) -> None:
        self.state, self.message = "unloaded", "the model is not loaded"
        self._record({"call": "close"})

    def _wait(self, delay_s: float, should_stop: ShouldStop, call: dict[str, Any], error: str) -> None:
        """The denoising steps: checks the stop flag between them, as the real engine does."""
        started = time.monotonic()
        while time.monotonic() - started < delay_s:
            if should_stop():
                self._record({**call, "was_stopped": True, "seconds": time.monotonic() - started})
                raise Cancelled("stopped")
            time.sleep(_STEP_S)
        self._record({**call, "was_stopped": False, "seconds": time.monotonic() - started})
        if error == "request":
            raise RequestError("the request was refused")
        if error == "broken":
            self.state, self.message = "failed", "the model broke"
            raise EngineFailed(self.message)
        if error:
            raise ValueError(error)

    def _record(self, call: dict[str, Any]) -> None:
        self.calls.append(call)
        if self.script.record:
            with Path(self.script.record).open("a", encoding="utf-8") as out:
                out.write(json.dumps(call) + "\n")


def _first(planned: Sequence[Any], fits: Any) -> Any:
    return next((one for one in planned if fits(one)), None)
