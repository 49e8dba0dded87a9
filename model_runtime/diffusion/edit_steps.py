"""One window of an edit, step by step: the answer as it grows behind the prompt, pins kept, any stop a whole text.

The text of a step is the new code as far as it is written and the old code from the place it has reached, joined only
where the canvas knows that place. Where the model has passed a pin without writing it, what it wrote since is taken
back, the old text up to the end of the pin is put there, and it goes on behind it: each such turn keeps one pin more,
so there are at most as many as there are pins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from model_runtime.api import FinishReason, SamplingParams, ShouldStop
from model_runtime.diffusion.drafts import Drafter, NgramDrafter, NoDrafter
from model_runtime.diffusion.edit_drafts import EditDrafter
from model_runtime.diffusion.edit_pins import Pin, num_kept
from model_runtime.diffusion.generate import Decoding, Model, Task, decode
from model_runtime.diffusion.substitutions import Substitutions


@dataclass(frozen=True, slots=True)
class WindowTask:
    """One window as the model is asked about it."""

    prompt: list[int]
    code: str
    """Without empty lines at its end."""
    fence: str
    pins: tuple[Pin, ...]
    params: SamplingParams
    should_stop: ShouldStop
    started: float
    substitutions: Substitutions
    """Shared by the windows of one edit."""
    focus: tuple[tuple[int, int], ...] = ()
    """Spans [start, end) of `code` that are known to be in question; used where an edit only looks at some places."""


@dataclass(slots=True)
class WindowState:
    """How far a window is; always the same object."""

    code: str
    """A whole text for the window."""
    num_done: int = 0
    """Characters of `code` that are final."""
    tokens: int = 0
    forwards: int = 0
    prefill_ms: float = 0.0
    denoise_ms: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None
    written: bytearray = field(default_factory=bytearray)
    """The answer so far, what follows its closing fence cut off."""


def rewrite_window(model: Model, task: WindowTask) -> Iterator[WindowState]:
    """Yields after every step; the last time with a finish reason. Cancelled before the first token."""
    yield from WindowRun(model, task).steps()


class WindowRun:
    """The state of one window's rewrite."""

    def __init__(self, model: Model, task: WindowTask) -> None:
        self._model = model
        self._task = task
        fallback = NgramDrafter(task.prompt)
        self._canvas = EditDrafter(f"{task.code}\n{task.fence}", model.tokenizer, fallback, task.substitutions)
        self._state = WindowState(task.code)
        self._old = task.code.encode("utf-8")
        self._kept: list[int] = []
        """Tokens behind the prompt that are not the model's to decide any more."""

    def steps(self) -> Iterator[WindowState]:
        """See `rewrite_window`."""
        state, task = self._state, self._task
        while True:
            params = replace(task.params, max_tokens=max(1, task.params.max_tokens - state.tokens))
            yield from self._decode(params)
            if state.finish_reason == "end" and (missed := self._missed_pin(is_end=True)) is not None:
                self._take_back(missed)
            if state.finish_reason is None and state.tokens >= task.params.max_tokens:
                state.finish_reason = "length"
            if state.finish_reason is not None:
                break
        if state.finish_reason == "end":
            state.code = self._written_text()
            state.num_done = len(state.code)
        yield state

    def _decode(self, params: SamplingParams) -> Iterator[WindowState]:
        """One run of the decoder, until it ends or has passed a pin."""
        state, task = self._state, self._task
        drafter: Drafter = NoDrafter() if params.policy == "ar" else self._canvas
        before = replace(state)
        request = Task([*task.prompt, *self._kept], drafter, self._judge, params, task.should_stop, task.started)
        num_seen = 0
        for decoding in decode(self._model, request):
            if drafter is not self._canvas:
                self._canvas.commit(decoding.token_ids[num_seen:])
            num_seen = len(decoding.token_ids)
            _add_costs(state, before, decoding)
            state.finish_reason = decoding.finish_reason
            self._join()
            if state.finish_reason is None:
                if (missed := self._missed_pin(is_end=False)) is not None:
                    self._take_back(missed)
                    return
                yield state
                if self._is_far_enough():
                    return

    def _is_far_enough(self) -> bool:
        """True where what follows needs no rewriting."""
        return False

    def _judge(self, token_id: int) -> FinishReason | None:
        tokenizer, written = self._model.tokenizer, self._state.written
        if tokenizer.is_special(token_id):
            return "end"
        searched = max(0, len(written) - len(self._task.fence) - 1)
        written += tokenizer.token_bytes(token_id)
        fence = _closing_fence(written, self._task.fence.encode(), searched)
        if fence < 0:
            return None
        del written[fence:]
        return "end"

    def _join(self) -> None:
        """The newest whole text, where it is known how the old one goes on and the pins are all there."""
        canvas, state = self._canvas, self._state
        if not canvas.is_sure or state.finish_reason == "end":
            return
        offset = canvas.old_offset
        num_of_fence = max(0, offset - len(self._old))
        try:
            code = (state.written[: len(state.written) - num_of_fence] + self._old[offset:]).decode("utf-8")
        except UnicodeDecodeError:
            return  # inside a character that was replaced
        if num_kept(self._task.pins, code) == len(self._task.pins):
            state.code = code
            state.num_done = state.written.rfind(b"\n") + 1
            state.num_done = len(state.written[: state.num_done].decode("utf-8"))

    def _missed_pin(self, *, is_end: bool) -> Pin | None:
        """The first pin that the new text should have by now."""
        task, text = self._task, self._written_text()
        if not task.pins or not (is_end or self._canvas.follows):
            return None
        kept = num_kept(task.pins, text)
        if kept == len(task.pins):
            return None
        pin = task.pins[kept]
        end = len(task.code[: pin.end].encode("utf-8"))
        return pin if is_end or self._canvas.old_offset > end else None

    def _take_back(self, pin: Pin) -> None:
        """Back to where the old text before the pin was last followed; from there to the pin's end, the old text."""
        start, end = (len(self._task.code[:place].encode("utf-8")) for place in (pin.start, pin.end))
        self._keep_old(*self._canvas.last_before(start), end)

    def _keep_old(self, num_tokens: int, offset: int, end: int) -> None:
        """Behind the first tokens comes the old text from `offset` to `end` (bytes), and there it goes on."""
        canvas, state, model = self._canvas, self._state, self._model
        canvas.go_on_from(num_tokens, model.tokenizer.encode(self._old[offset:end].decode("utf-8")), end)
        self._kept = canvas.written
        state.written = bytearray(model.tokenizer.decode_bytes(self._kept))
        state.finish_reason = None

    def _written_text(self) -> str:
        return self._state.written.decode("utf-8", "replace")


def _add_costs(state: WindowState, before: WindowState, decoding: Decoding) -> None:
    state.tokens = before.tokens + len(decoding.token_ids)
    state.forwards = before.forwards + decoding.forwards
    state.prefill_ms = before.prefill_ms + decoding.prefill_ms
    state.denoise_ms = before.denoise_ms + decoding.denoise_ms
    state.prompt_tokens = before.prompt_tokens + decoding.prompt_tokens
    state.cached_tokens = before.cached_tokens + decoding.cached_tokens


def _closing_fence(written: bytearray, fence: bytes, start: int) -> int:
    """Offset of the newline before a line that starts with the fence, 0 for a fence at the start, -1 without one."""
    if written.startswith(fence):
        return 0
    return written.find(b"\n" + fence, start)
