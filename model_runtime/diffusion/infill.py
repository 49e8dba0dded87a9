"""Fill a hole: prompt, drafts from the text around it, stop rules, and what to keep of the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from model_runtime.api import CompletionRequest, CompletionResult, FinishReason, ShouldStop, Timings
from model_runtime.diffusion.drafts import Drafter, NgramDrafter, NoDrafter
from model_runtime.diffusion.generate import Decoding, Model, Task, decode
from model_runtime.diffusion.stops import Finish, InfillStops
from model_runtime.prompts import infill_ids

MAX_PREFIX_TOKENS = 1536
MAX_SUFFIX_TOKENS = 512
# The start of a prefix that is too long moves in steps of this, so that it, and the cache, stays put while typing.
PREFIX_STEP = 256


def infill(model: Model, request: CompletionRequest, should_stop: ShouldStop) -> CompletionResult:
    """Decode the middle; the text is "" when the model has nothing. Cancelled if stopped before the first token."""
    started = time.perf_counter()
    tokenizer = model.tokenizer
    prefix_ids = window_before(tokenizer.encode(request.prefix), MAX_PREFIX_TOKENS)
    suffix_ids = tokenizer.encode(request.suffix)[:MAX_SUFFIX_TOKENS]
    prompt = infill_ids(
        tokenizer, prefix_ids, suffix_ids, layout=model.layout, path=request.path, snippets=request.snippets
    )
    drafter: Drafter = NoDrafter() if request.params.policy == "ar" else _drafter(prompt, prefix_ids)
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

    *_, state = decode(model, Task(prompt, drafter, judge, request.params, should_stop, started))
    assert state.finish_reason is not None
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


def timings(state: Decoding, started: float) -> Timings:
    """What a request cost, in the API's terms."""
    return Timings(
        prefill_ms=state.prefill_ms,
        denoise_ms=state.denoise_ms,
        total_ms=(time.perf_counter() - started) * 1e3,
        prompt_tokens=state.prompt_tokens,
        cached_tokens=state.cached_tokens,
    )


def window_before(token_ids: list[int], max_tokens: int) -> list[int]:
    """The end of a text that is too long, starting at a multiple of PREFIX_STEP from its beginning."""
    excess = len(token_ids) - max_tokens
    if excess <= 0:
        return token_ids
    return token_ids[-(-excess // PREFIX_STEP) * PREFIX_STEP :]


def _drafter(prompt: Sequence[int], prefix_ids: Sequence[int]) -> NgramDrafter:
    # The middle continues the prefix, not the prompt's last tokens: the prefix's end is what n-grams are matched from.
    return NgramDrafter([*prompt, *prefix_ids[-8:]])


def confidence(log_probs: Sequence[float]) -> float:
    """Geometric mean probability; 0 when there is nothing."""
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else 0.0
