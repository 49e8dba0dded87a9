"""The decoding loop: step by step until an end token, a stop rule, the length, the deadline or a cancellation.

One loop serves completion, generation and edits; they differ in the drafter and in what ends them. Text is judged
token by token in order, so where it ends does not depend on how many tokens a step committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model_runtime.api import FinishReason, SamplingParams, ShouldStop
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.diffusion.blocks import MAX_BLOCK, AdaptiveBlock
from model_runtime.diffusion.denoise import Network, Rows, StepResult, denoise_step
from model_runtime.diffusion.drafts import Drafter
from model_runtime.errors import Cancelled, RequestError
from model_runtime.prompts import InfillLayout
from model_runtime.tokenizer import Tokenizer

# Prompt tokens a forward. A cancelled request waits for one of these at most, so on a CPU they are small.
PREFILL_CHUNK_CPU = 64
PREFILL_CHUNK_GPU = 1024

DEFAULT_BLOCK = 32
# Before the drafts have shown their luck, a step costs little more than one token's.
FIRST_BLOCK = 6

JudgeToken = Callable[[int], FinishReason | None]
"""Told every committed token in order; the reason to end before anything after it is looked at, else None."""


@dataclass(slots=True)
class Decoding:
    """The state of one request: tokens committed so far and what they cost."""

    token_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    forwards: int = 0
    prefill_ms: float = 0.0
    denoise_ms: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """What every request needs: the network, its one cache and its vocabulary."""

    network: Network
    cache: KeyValueCache
    tokenizer: Tokenizer
    forbidden: Tensor
    """Ids (F,) never written: the mask and edit tokens."""
    mask_token_id: int | None = None
    """What a masked canvas row holds; None when no denoiser is loaded: drafts then come from text alone."""
    layout: InfillLayout = "prefix-first"


@dataclass(frozen=True, slots=True)
class Task:
    """One request, as the loop sees it."""

    prompt: list[int]
    drafter: Drafter
    judge: JudgeToken
    params: SamplingParams
    should_stop: ShouldStop
    started: float
    """The deadline's clock, `time.perf_counter()`."""


def check_params(params: SamplingParams) -> None:
    """RequestError naming the first parameter that makes no sense."""
    if params.policy not in ("ar", "lossless", "fast"):
        raise RequestError(f"unknown policy {params.policy!r} (use ar, lossless or fast)")
    if params.max_tokens < 1:
        raise RequestError(f"max_tokens is {params.max_tokens}, must be at least 1")
    if params.block_size is not None and not 1 <= params.block_size <= MAX_BLOCK:
        raise RequestError(f"block_size is {params.block_size}, must be 1 to {MAX_BLOCK}")
    if params.max_steps is not None and params.max_steps < 1:
        raise RequestError(f"max_steps is {params.max_steps}, must be at least 1")
    if not params.temperature >= 0.0:
        raise RequestError(f"temperature is {params.temperature}, must not be negative")
    if not 0.0 < params.accept_threshold <= 1.0:
        raise RequestError(f"accept_threshold is {params.accept_threshold}, must be above 0 and at most 1")


def decode(model: Model, task: Task) -> Iterator[Decoding]:
    """Denoise until something ends it; yields the state, always the same object, after every step and at the end."""
    params, cache, state = task.params, model.cache, Decoding()
    check_params(params)
    _prefill(model, task, state)
    limit = params.block_size or DEFAULT_BLOCK
    block = AdaptiveBlock(limit, start=limit if params.block_size else FIRST_BLOCK)
    anchor, step_canvas = task.prompt[-1], list[int]()
    steps_in_block = tokens_in_block = 0
    while state.finish_reason is None:
        state.finish_reason = _interruption(task)
        if state.finish_reason is not None:
            break
        started = time.perf_counter()
        room = min(params.max_tokens - len(state.token_ids), cache.capacity - cache.length) - 1
        canvas = _fill_canvas(step_canvas, model, task, min(block.size, room))
        steps_in_block += 1
        is_last_step = params.policy == "fast" and params.max_steps is not None and steps_in_block > params.max_steps
        masks: list[int] = []
        if model.mask_token_id is not None and params.policy != "ar":
            masks = [model.mask_token_id] * max(0, min(block.size, room - len(canvas)))
        rows = Rows(anchor, canvas, masks)
        step = denoise_step(model.network, cache, rows, params, model.forbidden, accept_all=is_last_step)
        block.record(len(canvas), step.num_accepted)
        state.forwards += 1
        tokens_in_block += len(step.token_ids)
        if tokens_in_block >= limit or is_last_step:
            steps_in_block = tokens_in_block = 0
        anchor, step_canvas = step.token_ids[-1], step.canvas
        task.drafter.commit(step.token_ids)
        _take(step, task.judge, params.max_tokens, state)
        if state.finish_reason is None and cache.length + 1 >= cache.capacity:
            state.finish_reason = "length"
        state.denoise_ms += (time.perf_counter() - started) * 1e3
        yield state
    yield state


def _prefill(model: Model, task: Task, state: Decoding) -> None:
    """Bring all of the prompt but its last token into the cache, reusing what is there; Cancelled between chunks."""
    started = time.perf_counter()
    state.prompt_tokens = len(task.prompt)
    state.cached_tokens = model.cache.keep_common_prefix(task.prompt[:-1])
    missing = task.prompt[state.cached_tokens : -1]
    model.cache.require_room(len(missing) + 1)
    size = PREFILL_CHUNK_CPU if model.network.device.type == "cpu" else PREFILL_CHUNK_GPU
    for start in range(0, len(missing), size):
        if task.should_stop():
            raise Cancelled("stopped while reading the prompt")
        chunk = missing[start : start + size]
        model.network.forward(torch.tensor(chunk, device=model.network.device), model.cache, is_prompt=True)
        model.cache.commit(chunk)
    state.prefill_ms = (time.perf_counter() - started) * 1e3


def _interruption(task: Task) -> FinishReason | None:
    if task.should_stop():
        return "cancelled"
    deadline = task.params.deadline_ms
    if deadline is not None and (time.perf_counter() - task.started) * 1e3 >= deadline:
        return "deadline"
    return None


def _fill_canvas(refined: list[int], model: Model, task: Task, num_positions: int) -> list[int]:
    """Guesses for the next positions: from text that is there, else what the last step refined."""
    if task.params.policy == "ar" or num_positions <= 0:
        return []
    draft = task.drafter.draft(num_positions)
    if draft or model.mask_token_id is not None:
        return (draft or refined)[:num_positions]
    if task.params.policy != "fast" or task.params.block_size is None:
        return []
    # `fast` with a block size asked for: denoise a full block, the model's own last guesses first (Jacobi iteration).
    return (refined + refined[-1:] * num_positions)[:num_positions]


def _take(step: StepResult, judge: JudgeToken, max_tokens: int, state: Decoding) -> None:
    """Judge the step's tokens in order; what comes behind the end is dropped."""
    for token_id, log_prob in zip(step.token_ids, step.log_probs, strict=True):
        state.token_ids.append(token_id)
        state.log_probs.append(log_prob)
        state.finish_reason = judge(token_id)
        if state.finish_reason is None and len(state.token_ids) >= max_tokens:
            state.finish_reason = "length"
        if state.finish_reason is not None:
            return
