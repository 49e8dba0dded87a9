"""The decoding loop of diffusion families: spans of a canvas, denoised in order, judged from the left.

The text is judged token by token as soon as no mask stands before them, so where it ends does not depend on how many
positions a step committed. Between forwards it looks at cancellation and the deadline. The policies mean here:
`ar` the leftmost mask, one a forward; `lossless` the surest position, one a forward, nothing reused that is not exact;
`fast` the family's own threshold, and stale rows where the network sees both ways (a dual cache).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.api import FinishReason, SamplingParams, ShouldStop
from model_runtime.cache.canvas_cache import CanvasCache
from model_runtime.diffusion.canvas import Canvas, denoise_span, next_token
from model_runtime.diffusion.canvas_views import BlockCausalView, FullView, ReorderedView, Reuse, View
from model_runtime.diffusion.lengths import Lengths
from model_runtime.diffusion.task import Decoding, JudgeToken, check_params
from model_runtime.diffusion.unmask import Rule
from model_runtime.errors import Cancelled, RequestError
from model_runtime.families.config import FamilyConfig
from model_runtime.families.table import Schedule
from model_runtime.family_prompts import FamilyPrompt
from model_runtime.models.decoder import Decoder
from model_runtime.tokenizer import Tokenizer

REFRESH_EVERY = 8
"""Steps of a block after which stale rows are computed again."""


@dataclass(frozen=True, slots=True)
class FamilyModel:
    """What every request needs."""

    network: Decoder
    cache: CanvasCache
    tokenizer: Tokenizer
    config: FamilyConfig
    mask_token_id: int
    forbidden: Tensor
    """(F,) ids never written."""
    expand_id: int | None = None
    end_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class FamilyTask:
    """One request, as the loop sees it."""

    prompt: FamilyPrompt
    judge: JudgeToken
    params: SamplingParams
    should_stop: ShouldStop
    started: float


def rule_of(config: FamilyConfig, params: SamplingParams) -> Rule:
    """The family's defaults and the request's wishes as one rule."""
    decode = config.family.decode
    is_fast = params.policy == "fast"
    schedule: Schedule = "one"
    if is_fast and params.max_steps is not None:
        schedule = decode.schedule if decode.schedule != "one" else "even"
    return Rule(
        order=decode.order,
        schedule=schedule,
        steps=params.max_steps if is_fast else None,
        threshold=decode.threshold if is_fast else None,
        is_sequential=params.policy == "ar",
        edit_threshold=None if params.policy == "ar" else decode.edit_threshold,
        max_edit_steps=decode.max_edit_steps,
        epsilon=decode.epsilon,
        temperature=params.temperature,
        seed=params.seed,
    )


def decode_family(model: FamilyModel, task: FamilyTask) -> Iterator[Decoding]:
    """Denoise until something ends it; yields the state, always the same object, after every forward and at the end."""
    check_params(task.params)
    if not task.prompt.before:
        raise RequestError("the prompt is empty")
    run = _Run(model, task)
    try:
        yield from run.steps()
    finally:
        if model.config.family.attention == "full":
            model.cache.truncate(0)
    yield run.state


class _Run:
    """One request while it runs."""

    def __init__(self, model: FamilyModel, task: FamilyTask) -> None:
        self.model, self.task = model, task
        self.state = Decoding(prompt_tokens=len(task.prompt.before))
        self.rule = rule_of(model.config, task.params)
        self.canvas = Canvas(list(task.prompt.before), model.mask_token_id, model.forbidden)
        self.start = len(task.prompt.before)
        self._prefill_forwards = 0

    def is_over(self) -> bool:
        """Something has ended the request."""
        return self.state.finish_reason is not None

    def steps(self) -> Iterator[Decoding]:
        attention = self.model.config.family.attention
        if attention == "full":
            yield from self._full()
        elif attention == "reordered":
            yield from self._reordered()
        else:
            yield from self._block_causal()

    def _full(self) -> Iterator[Decoding]:
        """Masks between what stands before and behind, in blocks from the left."""
        model, params, family = self.model, self.task.params, self.model.config.family
        size = params.block_size or family.decode.block_size
        length = min(params.max_tokens, family.decode.first_canvas) if self.task.prompt.is_hole else params.max_tokens
        room = model.cache.capacity - self.start - len(self.task.prompt.after)
        self._require_room(model.cache.capacity - room + 1)
        length = min(length, room)
        self.canvas.token_ids += [self.canvas.mask_token_id] * length + self.task.prompt.after
        reuse: Reuse = "dual" if params.policy == "fast" else "none"
        view = FullView(model.network, model.cache, shift=family.shift, reuse=reuse, refresh_every=REFRESH_EVERY)
        lengths: Lengths | None = None
        if model.expand_id is not None and self.task.prompt.is_hole:
            lengths = Lengths(model.expand_id, model.end_ids, self.start, length, min(params.max_tokens, room))
        if lengths is not None:
            yield from self._watched(view, lengths.denoise(view, self.canvas, self.rule))
            length = lengths.length
        for begin in range(self.start, self.start + length, size):
            stop = min(begin + size, self.start + length)
            if not self.is_over():
                yield from self._watched(view, denoise_span(view, self.canvas, begin, stop, self.rule))
        if not self.is_over():
            self._judge(self.start + length)
        if not self.is_over():
            self.state.finish_reason = "end" if self.task.prompt.is_hole else "length"

    def _block_causal(self) -> Iterator[Decoding]:
        model, family = self.model, self.model.config.family
        size = self.task.params.block_size or model.config.block_size
        offset = -self.start % size if family.blocks_from_prompt else 0
        self._require_room(self.start + size)
        shared = model.cache.keep_common_prefix(self.task.prompt.before, size, offset)
        view = BlockCausalView(model.network, model.cache, shift=family.shift, block_size=size, offset=offset)
        if family.shift and shared and view.block_end(shared) - size == shared:
            model.cache.truncate(max(0, shared - size))  # the row before the next block is needed: compute it again
        self.state.cached_tokens = model.cache.length
        self._prefill(view)
        while not self.is_over():
            begin, end = len(self.canvas.token_ids), view.block_end(len(self.canvas.token_ids))
            if end > model.cache.capacity:
                self.state.finish_reason = "length"
                return
            self.canvas.token_ids += [self.canvas.mask_token_id] * (end - begin)
            self._first_of_block(view, begin)
            for low in range(end - size, end, family.decode.sub_block or size):
                high = min(end, low + (family.decode.sub_block or size))
                if high > begin:
                    span = denoise_span(view, self.canvas, max(low, 0), high, self.rule, self.start)
                    yield from self._watched(view, span)
                if self.is_over():
                    return
            self._judge(end)
            if not self.is_over():
                view.finish(self.canvas.token_ids, end)
                self.state.forwards = view.forwards - self._prefill_forwards
                yield self.state

    def _reordered(self) -> Iterator[Decoding]:
        model = self.model
        size = self.task.params.block_size or model.config.block_size
        self._require_room(self.start + size)
        self.state.cached_tokens = model.cache.keep_common_prefix(self.task.prompt.before[:-1], 1)
        prefill = BlockCausalView(model.network, model.cache, shift=False, block_size=1)
        self._prefill(prefill)
        view = ReorderedView(model.network, model.cache, model.mask_token_id)
        self._prefill_forwards = 0
        while not self.is_over():
            begin = len(self.canvas.token_ids)
            if begin + size > model.cache.capacity:
                self.state.finish_reason = "length"
                return
            self.canvas.token_ids += [self.canvas.mask_token_id] * size
            yield from self._watched(view, denoise_span(view, self.canvas, begin, begin + size, self.rule))
            if not self.is_over():
                self._judge(begin + size)

    def _prefill(self, view: BlockCausalView) -> None:
        """The prompt's whole blocks, a piece at a time; Cancelled between pieces."""
        started = time.perf_counter()
        while True:
            if self.task.should_stop():
                raise Cancelled("stopped while reading the prompt")
            if view.prefill(self.canvas.token_ids, self.start) == 0:
                break
        self._prefill_forwards = view.forwards
        self.state.prefill_ms = (time.perf_counter() - started) * 1e3

    def _first_of_block(self, view: BlockCausalView, position: int) -> None:
        """A shifted model's row before the block says its first token: committed before the block is looked at."""
        if view.block_end(position) == view.block_end(position - 1):
            return  # the prompt ends inside this block
        logits = view.next_token_logits()
        if logits is not None and self.canvas.token_ids[position] == self.canvas.mask_token_id:
            self.canvas.write(position, *next_token(logits, self.canvas.forbidden))

    def _watched(self, view: View, span: Iterator[None]) -> Iterator[Decoding]:
        """Run a span; after every forward judge what is final, between them see whether to stop."""
        while True:
            self.state.finish_reason = self._interruption()
            if self.is_over():
                return
            started = time.perf_counter()
            is_over = next(span, "over") == "over"
            self.state.denoise_ms += (time.perf_counter() - started) * 1e3
            self.state.forwards = view.forwards - self._prefill_forwards
            if is_over:
                return
            if self.rule.edit_threshold is None and self.model.expand_id is None:
                self._judge(self.canvas.frontier(self.start))
            yield self.state
            if self.is_over():
                return

    def _judge(self, stop: int) -> None:
        """Judge the tokens before `stop` that were not judged yet; what comes behind the end is dropped."""
        stop = min(stop, self.canvas.frontier(self.start), len(self.canvas.token_ids) - len(self.task.prompt.after))
        for position in range(self.start + len(self.state.token_ids), stop):
            token = self.canvas.token_ids[position]
            self.state.token_ids.append(token)
            probability = self.canvas.probabilities.get(position, 1.0)
            self.state.log_probs.append(math.log(max(probability, 1e-30)))
            reason = self.task.judge(token)
            if reason is None and len(self.state.token_ids) >= self.task.params.max_tokens:
                reason = "length"
            if reason is not None:
                self.state.finish_reason = reason
                return

    def _interruption(self) -> FinishReason | None:
        if self.task.should_stop():
            return "cancelled"
        deadline = self.task.params.deadline_ms
        if deadline is not None and (time.perf_counter() - self.task.started) * 1e3 >= deadline:
            return "deadline"
        return None

    def _require_room(self, num_tokens: int) -> None:
        capacity = self.model.cache.capacity
        if num_tokens > capacity:
            raise RequestError(f"{num_tokens} tokens do not fit the cache of {capacity}")


def forbidden_tensor(ids: list[int], device: torch.device) -> Tensor:
    """Ids never written, on the device."""
    return torch.tensor(ids, dtype=torch.long, device=device)
