"""Fill a hole: prompt, drafts from the text around it, stop rules, and what to keep of the answer.

A word the cursor is still in is written again (healing.py): the decoded tokens then begin with text that the user has
typed, which is taken off before anyone sees it.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import replace

from model_runtime.api import CompletionRequest, CompletionResult, FinishReason, ShouldStop, Timings
from model_runtime.cache.prefix import num_reusable
from model_runtime.diffusion.drafts import Drafter, NgramDrafter, NoDrafter, WarmDrafter
from model_runtime.diffusion.endings import BlockEndings
from model_runtime.diffusion.gating import LineGate, confidence, length_of_sure_lines
from model_runtime.diffusion.generate import Decoding, Model, Refused, Task, Verdict, decode
from model_runtime.diffusion.healing import split_typed
from model_runtime.diffusion.prefill import read_prompt
from model_runtime.diffusion.stops import Finish, InfillStops
from model_runtime.diffusion.windows import Window, choose_prompt, end_of
from model_runtime.errors import Cancelled
from model_runtime.prompts import infill_ids


def infill(model: Model, request: CompletionRequest, should_stop: ShouldStop) -> CompletionResult:
    """Decode the middle; the text is "" when the model has nothing. Cancelled if stopped before the first token."""
    return Infill(model, request, should_stop).run()


def candidates(model: Model, request: CompletionRequest, count: int, should_stop: ShouldStop) -> list[CompletionResult]:
    """Up to `count` middles, the one `infill` gives first, the others from the next likeliest first tokens.

    All share the prompt's cached rows and the deadline; texts that are empty or repeat another are left out.
    """
    best = Infill(model, request, should_stop, num_first_choices=count + 2)
    results = [best.run()]
    for first in best.task.state.first_choices[1:]:
        left = best.task.ms_left()
        if len(results) >= count or should_stop() or (left is not None and left <= 0):
            break
        if model.tokenizer.is_special(first[0]):
            continue
        params = replace(request.params, deadline_ms=left)
        other = Infill(model, replace(request, params=params), should_stop, first=first).run()
        if other.text.strip() and all(other.text.rstrip() != each.text.rstrip() for each in results):
            results.append(other)
    return results


def read_ahead(model: Model, request: CompletionRequest, should_stop: ShouldStop) -> int:
    """Read the prompt of this hole into the cache, a forward at a time; how many tokens it has.

    For idle moments: first the window that the request's deadline leaves time for, then the widest, so that a request
    with a deadline finds what it needs whenever it comes. Stopping keeps what has been read.
    """
    no_hurry = replace(request.params, deadline_ms=None)
    with contextlib.suppress(Cancelled):
        for params in dict.fromkeys((request.params, no_hurry)):
            task = Infill(model, replace(request, params=params), should_stop).task
            read_prompt(model, replace(task, params=no_hurry))
    return model.cache.length


class Infill:
    """One hole being filled."""

    def __init__(
        self,
        model: Model,
        request: CompletionRequest,
        should_stop: ShouldStop,
        *,
        first: tuple[int, float] | None = None,
        num_first_choices: int = 0,
    ) -> None:
        """`first` is a first token to write whatever the model thinks, with its log-probability."""
        self._model = model
        self._request = request
        self._minimum = request.params.min_confidence if model.switches.gating else 0.0
        started = time.perf_counter()
        prefix_ids = model.tokenizer.encode(request.prefix)
        kept, self._typed = (
            split_typed(model.tokenizer, prefix_ids) if model.switches.healing else (len(prefix_ids), b"")
        )
        # The tokens that the user's word has now: drafts for what is to be written again.
        self._typed_ids = prefix_ids[kept:]
        prompt = self._prompt(prefix_ids[:kept])
        state = Decoding()
        self._middle = Middle(model, request, self._minimum, len(self._typed), state)
        self.task = Task(
            prompt,
            self._drafter(prompt, prefix_ids[:kept]),
            self._middle.judge,
            request.params,
            should_stop,
            started,
            state,
            healing=model.heal(self._typed) if self._typed else None,
            first=first,
            num_first_choices=num_first_choices,
        )

    def run(self) -> CompletionResult:
        """Decode and say what came of it."""
        *_, state = decode(self._model, self.task)
        assert state.finish_reason is not None
        text, ends = self._middle.text, self._middle.ends
        reason: FinishReason = state.finish_reason
        log_probs = state.log_probs[len(state.log_probs) - len(ends) :]
        if self._minimum > 0 and (sure := length_of_sure_lines(text, ends, log_probs, self._minimum)) is not None:
            text, reason = text[:sure].rstrip("\r\n"), "low_confidence"
        num_shown = sum(1 for end in ends if end <= len(text)) or len(ends)
        log_probs = log_probs[:num_shown]
        return CompletionResult(
            text=text,
            finish_reason=reason,
            tokens=len(state.token_ids),
            forwards=state.forwards,
            confidence=confidence(log_probs),
            token_ends=tuple(min(end, len(text)) for end in ends[:num_shown]),
            token_probs=tuple(map(math.exp, log_probs)),
            timings=timings(state, self.task.started),
        )

    def _prompt(self, prefix_ids: list[int]) -> list[int]:
        model, request = self._model, self._request
        tokenizer = model.tokenizer
        suffix_ids = tokenizer.encode(request.suffix)

        def prompt_of(window: Window) -> list[int]:
            before, after = end_of(prefix_ids, window.prefix), suffix_ids[: window.suffix]
            return infill_ids(
                tokenizer, before, after, layout=model.layout, path=request.path, snippets=request.snippets
            )

        def num_missing(prompt: list[int]) -> int:
            if not model.switches.prefix_cache:
                return len(prompt)
            return len(prompt) - num_reusable(model.cache, model.prefixes, prompt[:-1])

        room = max(1, model.cache.capacity - request.params.max_tokens)
        return choose_prompt(prompt_of, num_missing, room, model.pace, request.params.deadline_ms)

    def _drafter(self, prompt: list[int], prefix_ids: list[int]) -> Drafter:
        request = self._request
        if request.params.policy == "ar":
            return NoDrafter()
        # The middle continues the prefix, not the prompt's last tokens: n-grams are matched from the prefix's end.
        ngrams = NgramDrafter([*prompt, *prefix_ids[-8:]])
        proposed = request.draft if self._model.switches.warm_canvas else None
        if proposed:
            typed = self._typed.decode("utf-8", "replace")
            return WarmDrafter(self._model.tokenizer.encode(typed + proposed), ngrams)
        return WarmDrafter(self._typed_ids, ngrams, source="typed") if self._typed_ids else ngrams


class Middle:
    """What stands in the hole so far: its text, where its tokens end, and what ended it.

    Apart from `Infill`, because the task holds this object's method: a task that led back to its own owner would be a
    cycle, and its indexes of the prompt would stay in memory until the garbage collector comes by.
    """

    def __init__(
        self, model: Model, request: CompletionRequest, minimum: float, num_typed: int, state: Decoding
    ) -> None:
        """`num_typed` bytes are written again before the middle begins."""
        self.ends: list[int] = []
        self._tokenizer = model.tokenizer
        self._stops = InfillStops(request.prefix, request.suffix, request.stop)
        self._request = request
        self._gate = LineGate(minimum)
        self._num_typed_left = num_typed
        self._state = state
        self._finish: Finish | None = None

    @property
    def text(self) -> str:
        """Without what stands behind the place where it ends."""
        return self._stops.text if self._finish is None else self._stops.text[: self._finish.length]

    def judge(self, token_id: int) -> Verdict:
        """The decoder's question after each token, in order."""
        log_prob = self._state.log_probs[-1]
        token = self._tokenizer.token_bytes(token_id)
        if self._num_typed_left:
            covered = min(self._num_typed_left, len(token))
            self._num_typed_left -= covered
            token = token[covered:]
            if not token:
                return None  # nothing but what the user has typed
        if self._tokenizer.is_special(token_id):
            end = self._stops.finish_at_end()
            if (refused := self._refused(self._stops.text[:end])) is not None:
                return refused
            self._finish = Finish(end, "end")
        else:
            self._finish = self._stops.feed(token)
        self.ends.append(len(self._stops.text))
        if self._finish is None and self._gate.feed(token, log_prob):
            return "low_confidence"
        return None if self._finish is None else self._finish.reason

    def _refused(self, text: str) -> Refused | None:
        """What comes instead of an end here. Writing nothing is always possible: the model has nothing good."""
        request = self._request
        if request.language != "python" or request.stop.max_lines == 1 or not text.strip():
            return None  # a single line is over at its newline anyway
        endings = BlockEndings(request.prefix, request.suffix, keeps_indent=request.stop.stop_at_dedent)
        if endings.may_end(text):
            return None
        if not endings.needs_newline(text):
            return Refused()
        # One token: behind an end the model would rather leave lines empty.
        return Refused(tuple(self._tokenizer.encode("\r\n" if "\r\n" in request.prefix else "\n")[:1]))


def timings(state: Decoding, started: float) -> Timings:
    """What a request cost, in the API's terms."""
    return Timings(
        prefill_ms=state.prefill_ms,
        denoise_ms=state.denoise_ms,
        total_ms=(time.perf_counter() - started) * 1e3,
        prompt_tokens=state.prompt_tokens,
        cached_tokens=state.cached_tokens,
    )
