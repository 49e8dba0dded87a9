"""Rewrite a range of a text on instruction, starting from the text that is there.

The canvas of every step is the old text from the place the new text has reached: a forward evaluates a whole block of
it, keeps what the model would have written anyway and goes on from the first token it would not. What does not change
costs one position of one forward. With the exact policies the result equals writing the range anew token by token.

A range that is too long is cut into windows of whole lines, each shown to the model by itself and joined at the very
line ends where it was cut; what is learned of an edit in one window (a rename) is expected in the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from model_runtime.api import EditRequest, EditStep, FinishReason, ShouldStop, Timings
from model_runtime.diffusion.edit_pins import num_kept, pins_of
from model_runtime.diffusion.edit_range import Range, split_lines
from model_runtime.diffusion.edit_steps import WindowState, WindowTask, rewrite_window
from model_runtime.diffusion.edit_windows import Window, cut_windows
from model_runtime.diffusion.generate import Model, check_params
from model_runtime.diffusion.substitutions import Substitutions, announced
from model_runtime.errors import Cancelled, RequestError
from model_runtime.prompts import edit_ids, fence_for

MAX_WHOLE_TOKENS = 1500
"""A range of at most this is one window."""
WINDOW_TOKENS = 1000
"""Of each window where a range is cut."""
# Of the rows of the cache that are free behind the instruction, the share a window's own code gets: it stands there
# twice, and the new text may be longer.
_CODE_SHARE = 0.42

__all__ = ["Range", "edit"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A window of the range: its characters in the whole text."""

    start: int
    end: int
    is_shown: bool


def edit(model: Model, request: EditRequest, should_stop: ShouldStop) -> Iterator[EditStep]:
    """Yield the whole text after every step, the range part new and part old; the last step is final.

    `max_tokens` bounds each window. A window whose rewrite finds no end in it is left as it was and counted in
    `num_left`, unless it is the only one. RequestError for a range outside the text, an empty instruction, a pinned
    span outside the text or a range without a line that is short enough; Cancelled before the first token.
    """
    started = time.perf_counter()
    end = len(request.text) if request.end is None else request.end
    check_edit(request, end)
    pieces = pieces_of(model, request, end)
    substitutions = Substitutions()
    if (seen := announced(request.instruction, request.text[request.start : end])) is not None:
        substitutions.learn(seen)
    yield from WindowedEdit(model, request, pieces, substitutions, should_stop, started).steps()


RewriteWindow = Callable[[Model, WindowTask], Iterator[WindowState]]


class WindowedEdit:
    """One running edit: the windows that are done, and what they cost."""

    def __init__(
        self,
        model: Model,
        request: EditRequest,
        pieces: list[Piece],
        substitutions: Substitutions,
        should_stop: ShouldStop,
        started: float,
        rewrite: RewriteWindow = rewrite_window,
        focus: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """`focus` are spans of the whole text that `rewrite` is told about."""
        self._rewrite = rewrite
        self._focus = focus
        self._model = model
        self._request = request
        self._pieces = pieces
        self._substitutions = substitutions
        self._should_stop = should_stop
        self._started = started
        self._done = request.text[: request.start]
        self._num_left = self._tokens = self._forwards = 0
        self._timings = Timings()

    def steps(self) -> Iterator[EditStep]:
        """Window after window; the last step is final."""
        num_shown = sum(piece.is_shown for piece in self._pieces)
        finish: FinishReason = "end"
        step: EditStep | None = None
        for piece in self._pieces:
            old = self._request.text[piece.start : piece.end]
            if not piece.is_shown:
                self._done += old
                continue
            rest = self._request.text[piece.end :]
            text, finish = old, "end"
            try:
                for text, state in self._window(piece, old):
                    finish = state.finish_reason or "end"
                    step = self._step(text, rest, state)
                    if state.finish_reason is None:
                        yield step
            except Cancelled:
                if step is None:
                    raise
                finish = "cancelled"
            if step is not None:
                self._tokens, self._forwards, self._timings = step.tokens, step.forwards, step.timings
            if finish in ("cancelled", "deadline") or num_shown == 1:
                yield self._final(text + rest, finish)
                return
            self._num_left += finish != "end"
            self._done += text if finish == "end" else old
        yield self._final(
            self._request.text[self._pieces[-1].end :], "length" if self._num_left == num_shown else "end"
        )

    def _window(self, piece: Piece, old: str) -> Iterator[tuple[str, WindowState]]:
        """(new text of the window, state) after every step."""
        part = Range.of(old)
        code, fence = part.code.rstrip("\n"), fence_for(part.code)
        pins = pins_of(old, _inside(self._request.pinned, piece))
        spans = [(part.code_offset(pin.start), part.code_offset(pin.end)) for pin in pins]
        focus = [tuple(map(part.code_offset, span)) for span in _inside(self._focus, piece)]
        task = WindowTask(
            prompt=self._prompt(code, fence),
            code=code,
            fence=fence,
            pins=pins_of(code, [(min(start, len(code)), min(end, len(code))) for start, end in spans]),
            params=self._request.params,
            should_stop=self._should_stop,
            started=self._started,
            substitutions=self._substitutions,
            focus=tuple((span[0], span[1]) for span in focus),
        )
        text = old
        for state in self._rewrite(self._model, task):
            restored = part.restore(part.with_old_blank_end(state.code))
            if num_kept(pins, restored) == len(pins):
                text = restored
            yield text, state

    def _prompt(self, code: str, fence: str) -> list[int]:
        request = self._request
        return edit_ids(
            self._model.tokenizer,
            code,
            request.instruction,
            language=request.language,
            diagnostics=request.diagnostics,
            fence_mark=fence,
        )

    def _step(self, text: str, rest: str, state: WindowState) -> EditStep:
        """`text` of the running window between what is done and what is not."""
        timings = self._timings
        lines = state.code[: state.num_done].count("\n")
        num_done = len(text) if state.finish_reason == "end" else sum(map(len, split_lines(text)[:lines]))
        return EditStep(
            text=self._done + text + rest,
            done_offset=len(self._done) + num_done,
            is_final=False,
            finish_reason="length",
            tokens=self._tokens + state.tokens,
            forwards=self._forwards + state.forwards,
            timings=Timings(
                prefill_ms=timings.prefill_ms + state.prefill_ms,
                denoise_ms=timings.denoise_ms + state.denoise_ms,
                total_ms=(time.perf_counter() - self._started) * 1e3,
                prompt_tokens=timings.prompt_tokens + state.prompt_tokens,
                cached_tokens=timings.cached_tokens + state.cached_tokens,
            ),
            num_left=self._num_left,
        )

    def _final(self, behind: str, finish: FinishReason) -> EditStep:
        """The last step: `behind` follows what is done."""
        text = self._done + behind
        num_behind = len(self._request.text) - self._pieces[-1].end
        return EditStep(
            text=text,
            done_offset=len(text) - num_behind if finish == "end" else len(self._done),
            is_final=True,
            finish_reason=finish,
            tokens=self._tokens,
            forwards=self._forwards,
            timings=replace(self._timings, total_ms=(time.perf_counter() - self._started) * 1e3),
            num_left=self._num_left,
        )


def check_edit(request: EditRequest, end: int) -> None:
    if not 0 <= request.start <= end <= len(request.text):
        raise RequestError(f"range {request.start}:{end} is outside the text of {len(request.text)} characters")
    if not request.instruction.strip():
        raise RequestError("the instruction is empty")
    pins_of(request.text, request.pinned)
    check_params(request.params)


def _inside(spans: tuple[tuple[int, int], ...], piece: Piece) -> list[tuple[int, int]]:
    """The parts of the spans that lie in a piece, counted from its start."""
    cut = [(max(start, piece.start), min(end, piece.end)) for start, end in spans]
    return [(start - piece.start, end - piece.start) for start, end in cut if start < end]


def pieces_of(model: Model, request: EditRequest, end: int) -> list[Piece]:
    """The windows of the range; RequestError when there is none that can be shown."""
    tokenizer = model.tokenizer
    text = request.text[request.start : end]
    num_around = len(edit_ids(tokenizer, "", request.instruction, diagnostics=request.diagnostics))
    room = int((model.cache.capacity - num_around) * _CODE_SHARE)
    whole, limit = min(MAX_WHOLE_TOKENS, room), min(WINDOW_TOKENS, room)
    lines = split_lines(text)
    # Lines cost a little more apart than together, so what fits by this count fits.
    costs = [len(tokenizer.encode(line)) for line in lines]
    if sum(costs) <= whole:
        return [Piece(request.start, end, is_shown=True)]
    windows = cut_windows(lines, costs, limit) if limit >= 1 else [Window(0, len(lines), is_shown=False)]
    if not any(window.is_shown for window in windows):
        raise RequestError(
            f"the range has {sum(costs)} tokens, at most {limit} can be rewritten at once, in whole lines"
        )
    pieces, start = [], request.start
    for window in windows:
        stop = start + sum(map(len, lines[window.first : window.last]))
        pieces.append(Piece(start, stop, window.is_shown))
        start = stop
    return pieces
