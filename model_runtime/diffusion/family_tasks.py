"""Completion, generation and edits with a diffusion family: prompt, stop rules, and the answer in the API's terms.

The same requests and results as for the default model; which family answers shows only in the text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

from model_runtime.api import (
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    FinishReason,
    GenerateRequest,
    GenerateResult,
    ShouldStop,
)
from model_runtime.diffusion.edit import check_edit
from model_runtime.diffusion.edit_pins import num_kept, pins_of
from model_runtime.diffusion.edit_range import Range
from model_runtime.diffusion.family_generate import FamilyModel, FamilyTask, decode_family
from model_runtime.diffusion.gating import confidence
from model_runtime.diffusion.generated_text import GeneratedText
from model_runtime.diffusion.infill import timings
from model_runtime.diffusion.stops import Finish, InfillStops
from model_runtime.errors import RequestError
from model_runtime.family_prompts import family_chat, family_continuation, family_edit, family_infill
from model_runtime.prompts import GENERATE_SYSTEM, fence_for

MAX_EDIT_TOKENS = 1500
"""A longer range is refused: no family sees more than a few thousand tokens of code and answer together."""


def complete_with_family(model: FamilyModel, request: CompletionRequest, should_stop: ShouldStop) -> CompletionResult:
    """Fill the hole; the text is "" when the model has nothing. Cancelled if stopped while reading the prompt."""
    started = time.perf_counter()
    tokenizer = model.tokenizer
    stops = InfillStops(request.prefix, request.suffix, request.stop)
    ends: list[int] = []
    finish: Finish | None = None

    def judge(token_id: int) -> FinishReason | None:
        nonlocal finish
        if tokenizer.is_special(token_id):
            finish = Finish(stops.finish_at_end(), "end")
        else:
            finish = stops.feed(tokenizer.token_bytes(token_id))
        ends.append(len(stops.text))
        return None if finish is None else finish.reason

    prompt = family_infill(tokenizer, model.config.family, request)
    *_, state = decode_family(model, FamilyTask(prompt, judge, request.params, should_stop, started))
    assert state.finish_reason is not None
    if finish is None and state.finish_reason == "end":
        finish = Finish(stops.finish_at_end(), "end")  # the hole is full
    text = stops.text if finish is None else stops.text[: finish.length]
    num_shown = sum(1 for end in ends if end <= len(text)) or len(ends)
    log_probs = state.log_probs[:num_shown]
    return CompletionResult(
        text=text,
        finish_reason=state.finish_reason,
        tokens=len(state.token_ids),
        forwards=state.forwards,
        confidence=confidence(log_probs),
        token_ends=tuple(min(end, len(text)) for end in ends[:num_shown]),
        token_probs=tuple(map(math.exp, log_probs)),
        timings=timings(state, started),
    )


def generate_with_family(model: FamilyModel, request: GenerateRequest, should_stop: ShouldStop) -> GenerateResult:
    """Continue a prompt, or answer it through the family's chat layout."""
    started = time.perf_counter()
    tokenizer, family = model.tokenizer, model.config.family
    if not request.prompt:
        raise RequestError("the prompt is empty")
    if request.chat:
        prompt = family_chat(tokenizer, family, request.system or GENERATE_SYSTEM, request.prompt)
    else:
        prompt = family_continuation(tokenizer, family, request.prompt)
    answer = GeneratedText(tokenizer, request.stop_strings)
    *_, state = decode_family(model, FamilyTask(prompt, answer.judge, request.params, should_stop, started))
    assert state.finish_reason is not None
    given = (len(state.token_ids), state.forwards, timings(state, started))
    return GenerateResult(answer.text, state.finish_reason, *given)


def edit_with_family(model: FamilyModel, request: EditRequest, should_stop: ShouldStop) -> Iterator[EditStep]:
    """Rewrite a range; a step before the last shows the old text, since an answer that has not ended is no text yet.

    RequestError for a range outside the text, an empty instruction or a range that is too long; text outside the
    range and pinned spans never change: an answer that would is dropped.
    """
    started = time.perf_counter()
    end = len(request.text) if request.end is None else request.end
    check_edit(request, end)
    old = request.text[request.start : end]
    part, tokenizer = Range.of(old), model.tokenizer
    code, fence = part.code.rstrip("\n"), fence_for(part.code)
    num_tokens = len(tokenizer.encode(code))
    if num_tokens > MAX_EDIT_TOKENS:
        raise RequestError(f"the range is longer than the {MAX_EDIT_TOKENS} tokens that can be rewritten at once")
    raw = bytearray()

    def judge(token_id: int) -> FinishReason | None:
        if tokenizer.is_special(token_id):
            return "end"
        raw.extend(tokenizer.token_bytes(token_id))
        return "end" if closing_fence(raw.decode("utf-8", "replace"), fence) >= 0 else None

    prompt = family_edit(tokenizer, model.config.family, code, request, fence)
    # A canvas is paid for as a whole: no more of it than an edit of this size can need.
    params = replace(request.params, max_tokens=min(request.params.max_tokens, 2 * num_tokens + 64))
    for state in decode_family(model, FamilyTask(prompt, judge, params, should_stop, started)):
        text = old
        if state.finish_reason == "end":
            answer = raw.decode("utf-8", "replace")
            place = closing_fence(answer, fence)
            restored = part.restore(part.with_old_blank_end(answer if place < 0 else answer[:place]))
            pins = pins_of(request.text, request.pinned)
            whole = request.text[: request.start] + restored + request.text[end:]
            text = restored if num_kept(pins, whole) == len(pins) else old
        yield EditStep(
            text=request.text[: request.start] + text + request.text[end:],
            done_offset=request.start + (len(text) if state.finish_reason == "end" else 0),
            is_final=state.finish_reason is not None,
            finish_reason=state.finish_reason or "length",
            tokens=len(state.token_ids),
            forwards=state.forwards,
            timings=timings(state, started),
        )
        if state.finish_reason is not None:
            return


def closing_fence(text: str, fence: str) -> int:
    """Offset of the newline before a line that starts with the fence, 0 for a fence at the start, -1 without one."""
    return 0 if text.startswith(fence) else text.find(f"\n{fence}")
