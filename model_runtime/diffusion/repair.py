"""Repair without an instruction: find what is probably wrong, look again at those lines only.

One pass over each window scores the old text (edit_doubts.py). Lines in doubt, and lines that a problem was reported
for, are written again behind the old text before them; as soon as the new text has followed the old one for a while
behind such a place, the old text goes on. What was not in doubt costs its share of the one pass.

`consistent` carries a change that the user has just made through the rest of the text: an edit with its own
instruction, that expects the same substitution and keeps the user's lines as they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from model_runtime.api import EditRequest, EditStep, RepairRequest, ShouldStop
from model_runtime.diffusion.edit import WindowedEdit, check_edit, pieces_of
from model_runtime.diffusion.edit_doubts import doubtful_lines, joined, score
from model_runtime.diffusion.edit_steps import WindowRun, WindowState, WindowTask
from model_runtime.diffusion.generate import Model, Task
from model_runtime.diffusion.substitutions import Substitutions, observed_between

REPAIR = "Fix the mistakes in this code. Change nothing else."
CONSISTENT = (
    "One place of this code was just changed:\n{changes}\n\nChange the rest of the code to be consistent with it."
)


def repair(model: Model, request: RepairRequest, should_stop: ShouldStop) -> Iterator[EditStep]:
    """Yield the whole text after every step, as `edit` does; errors as there."""
    started = time.perf_counter()
    asked = _edit_request(request)
    end = len(asked.text) if asked.end is None else asked.end
    check_edit(asked, end)
    substitutions = Substitutions()
    for before, after in request.changes:
        if (seen := observed_between(before, after)) is not None:
            substitutions.learn(seen)
    running = (model, asked, pieces_of(model, asked, end), substitutions, should_stop, started)
    if request.changes:
        yield from WindowedEdit(*running).steps()
    else:
        focus = tuple((start, stop) for start, stop, _ in request.problems)
        yield from WindowedEdit(*running, rewrite=_repair_window, focus=focus).steps()


def _edit_request(request: RepairRequest) -> EditRequest:
    instruction = REPAIR
    if request.changes:
        changes = "\n".join(f"- {before.strip()}\n+ {after.strip()}" for before, after in request.changes)
        instruction = CONSISTENT.format(changes=changes)
    return EditRequest(
        text=request.text,
        instruction=instruction,
        start=request.start,
        end=request.end,
        path=request.path,
        language=request.language,
        diagnostics=tuple(message for _, _, message in request.problems),
        pinned=request.pinned,
        params=request.params,
    )


def _repair_window(model: Model, task: WindowTask) -> Iterator[WindowState]:
    yield from _FocusedRun(model, task).steps()


class _FocusedRun(WindowRun):
    """Writes the places in doubt again and keeps the rest."""

    _focus_end = 0
    """Bytes of the old text behind which it may go on as it was."""

    def steps(self) -> Iterator[WindowState]:
        """As of any window."""
        state, old = self._state, self._task.code
        for start, end in self._places():
            first = len(old[:start].encode("utf-8"))
            offset = self._canvas.old_offset
            if not self._canvas.follows or first < offset:
                continue  # what was written before went on over this place
            self._keep_old(len(self._canvas.written), offset, first)
            self._focus_end = len(old[:end].encode("utf-8"))
            left = self._task.params.max_tokens - state.tokens
            if left < 1:
                state.finish_reason = "length"
                break
            yield from self._decode(replace(self._task.params, max_tokens=left))
            if state.finish_reason is not None:
                break
        if state.finish_reason == "end" and self._missed_pin(is_end=True) is None:
            state.code = self._written_text()
        if state.finish_reason is None:
            state.finish_reason = "end"
        state.num_done = len(state.code) if state.finish_reason == "end" else state.num_done
        yield state

    def _is_far_enough(self) -> bool:
        return self._canvas.old_offset >= self._focus_end and self._canvas.is_sure and self._canvas.num_followed > 0

    def _places(self) -> list[tuple[int, int]]:
        """Spans of whole lines to look at again: reported, and doubted."""
        task, tokenizer, state = self._task, self._model.tokenizer, self._state
        ids = tokenizer.encode(f"{task.code}\n{task.fence}")
        request = Task(task.prompt, self._canvas, self._judge, task.params, task.should_stop, task.started)
        scores = score(self._model, request, ids, task.should_stop)
        state.forwards += scores.forwards
        state.prefill_ms += request.state.prefill_ms
        state.prompt_tokens += request.state.prompt_tokens
        state.cached_tokens += request.state.cached_tokens
        lengths = [len(tokenizer.token_bytes(token_id)) for token_id in ids]
        doubts = doubtful_lines(f"{task.code}\n", lengths, scores.ratios)
        reported = [_whole_lines(task.code, start, end) for start, end in task.focus]
        places = joined([*reported, *doubts])
        return [(start, min(end, len(task.code))) for start, end in places if start < len(task.code)]


def _whole_lines(code: str, start: int, end: int) -> tuple[int, int]:
    first = code.rfind("\n", 0, start) + 1
    last = code.find("\n", max(start, end - 1))
    return first, len(code) if last < 0 else last + 1
