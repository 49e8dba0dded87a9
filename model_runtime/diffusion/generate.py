"""The decoding loop: step by step until an end token, a stop rule, the length, the deadline or a cancellation.

One loop serves completion, generation and edits; they differ in the drafter and in what ends them. Text is judged
token by token in order, so where it ends does not depend on how many tokens a step committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from model_runtime.api import FinishReason
from model_runtime.cache.prefix import num_block_rows
from model_runtime.diffusion.denoise import Rows, StepResult, denoise_step, draft_step
from model_runtime.diffusion.device_step import reads_whole_prompts
from model_runtime.diffusion.planner import Plan, Planner
from model_runtime.diffusion.prefill import read_prompt
from model_runtime.diffusion.task import Decoding, JudgeToken, Model, Refused, Task, Verdict, check_params
from model_runtime.errors import Cancelled

__all__ = ["Decoding", "JudgeToken", "Model", "Refused", "Task", "Verdict", "check_params", "decode"]


def decode(model: Model, task: Task) -> Iterator[Decoding]:
    """Denoise until something ends it; yields the state, always the same object, after every step and at the end.

    Cancelled if stopped before the first token was there.
    """
    state = task.state
    check_params(task.params)
    unread = read_prompt(model, task, leave_rest=not reads_whole_prompts(model.network))
    planner = Planner(model, task)
    anchor = task.prompt[-1]
    steps_in_block = tokens_in_block = 0
    while state.finish_reason is None:
        state.finish_reason = _interruption(task)
        if state.finish_reason is not None:
            break
        started = time.perf_counter()
        plan = _plan(model, task, planner, len(unread))
        num_before = model.cache.length + len(unread)
        steps_in_block += 1
        is_last_step = _is_over(task, steps_in_block)
        step = _step(model, task, anchor, plan, unread, accept_all=is_last_step)
        unread = []
        planner.learn(plan, step, len(state.token_ids))
        tokens_in_block += len(step.token_ids)
        if tokens_in_block >= planner.block_size or is_last_step:
            steps_in_block = tokens_in_block = 0
        written = _take(step, task)
        anchor = written[-1] if written else anchor
        if state.refused is not None:
            model.cache.truncate(num_before + len(written))  # up to the row that has to choose again
        elif plan.num_masks and not model.switches.fusion:
            _draft_apart(model, task, anchor, plan, planner)
        task.drafter.commit(written)
        if task.healing is not None:
            task.healing.commit(written)
        if state.finish_reason is None and model.cache.length + 1 >= model.cache.capacity:
            state.finish_reason = "length"
        state.denoise_ms += (time.perf_counter() - started) * 1e3
        yield state
        if state.finish_reason is None and not _is_cache_ours(model, task):
            _read_again(model, task)
    yield state


def _is_cache_ours(model: Model, task: Task) -> bool:
    """False when another request used the cache while this one was not being asked for its next step."""
    cache, prompt = model.cache, task.prompt
    return cache.num_prompt_rows == num_block_rows(len(prompt) - 1) and list(cache.token_ids) == _committed(task)


def _committed(task: Task) -> list[int]:
    return [*task.prompt, *task.state.token_ids[:-1]]


def _read_again(model: Model, task: Task) -> None:
    read_prompt(model, replace(task, params=replace(task.params, deadline_ms=None)))
    rows = _committed(task)[model.cache.length :]
    model.network.forward(torch.tensor(rows, device=model.network.device), model.cache)
    model.cache.commit(rows)


def _interruption(task: Task) -> FinishReason | None:
    if task.should_stop():
        if not task.state.token_ids:
            raise Cancelled("stopped before the first token")
        return "cancelled"
    left = task.ms_left()
    return "deadline" if left is not None and left <= 0 else None


def _plan(model: Model, task: Task, planner: Planner, num_unread: int) -> Plan:
    left = model.cache.capacity - model.cache.length - num_unread
    room = min(task.params.max_tokens - len(task.state.token_ids), left) - 1
    if task.state.refused is not None:
        return Plan([], 0, "none")  # what was drafted stood behind the end
    plan = planner.plan(room, num_unread)
    if task.first is None or task.state.token_ids:
        return plan
    # Another candidate: its first token is evaluated as a guess that cannot be refused, in the first forward.
    return Plan([task.first[0]] if room > 0 else [], 0, "none")


def _is_over(task: Task, steps_in_block: int) -> bool:
    """`fast` has used up the steps it gets for this block: its canvas is taken as it is."""
    params = task.params
    is_free = task.healing is None or not task.healing.left
    return params.policy == "fast" and params.max_steps is not None and steps_in_block > params.max_steps and is_free


def _step(model: Model, task: Task, anchor: int, plan: Plan, unread: Sequence[int], *, accept_all: bool) -> StepResult:
    state, mask = task.state, model.mask_token_id
    num_masks = plan.num_masks if model.switches.fusion else 0
    rows = Rows(anchor, plan.canvas, [mask] * num_masks if mask is not None else [], unread)
    is_first = not state.token_ids
    started = time.perf_counter()
    step = denoise_step(
        model.network,
        model.cache,
        rows,
        task.params,
        model.forbidden,
        allowed=_allowed(task, plan.canvas),
        refused=list(model.tokenizer.special_tokens.values()) if state.refused is not None else (),
        accept_all=accept_all,
        num_first_choices=task.num_first_choices if is_first else 0,
    )
    model.pace.observe(len(unread) + 1 + len(plan.canvas) + num_masks, (time.perf_counter() - started) * 1e3)
    state.forwards += 1
    if is_first:
        state.first_choices = step.first_choices
        if task.first is not None:
            step.log_probs[0] = task.first[1]
    return step


def _allowed(task: Task, canvas: Sequence[int]) -> list[Sequence[int]]:
    """The ids that the first rows may choose: what heals a half-typed word, what another candidate starts with, what
    comes instead of an end that was refused."""
    if task.state.refused is not None and task.state.refused.go_on_with:
        return [task.state.refused.go_on_with]
    rows: list[Sequence[int]] = [] if task.healing is None else [*task.healing.allowed_rows(canvas)]
    if task.first is not None and not task.state.token_ids:
        rows[:1] = [(task.first[0],)]
    return rows


def _draft_apart(model: Model, task: Task, anchor: int, plan: Plan, planner: Planner) -> None:
    assert model.mask_token_id is not None
    num_masks = min(plan.num_masks, model.cache.capacity - model.cache.length - 1)
    if num_masks > 0:
        rows = Rows(anchor, [], [model.mask_token_id] * num_masks)
        planner.replace_canvas(*draft_step(model.network, model.cache, rows, model.forbidden))
        task.state.forwards += 1


def _take(step: StepResult, task: Task) -> list[int]:
    """Judge the step's tokens in order; those that are written, without what comes behind the end, or a refused one."""
    state = task.state
    state.refused = None
    for idx, (token_id, log_prob) in enumerate(zip(step.token_ids, step.log_probs, strict=True)):
        state.token_ids.append(token_id)
        state.log_probs.append(log_prob)
        verdict = task.judge(token_id)
        if isinstance(verdict, Refused):
            del state.token_ids[-1], state.log_probs[-1]
            state.refused = verdict
            return step.token_ids[:idx]
        state.finish_reason = verdict
        if state.finish_reason is None and len(state.token_ids) >= task.params.max_tokens:
            state.finish_reason = "length"
        if state.finish_reason is not None:
            return step.token_ids[: idx + 1]
    return step.token_ids
