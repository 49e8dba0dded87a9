"""Read a prompt into the cache: reuse what is there, compute the rest in pieces that a deadline can stop.

What has been read stays in the cache, also when the request ends here: the next request for the same place goes on
from it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from model_runtime.cache.prefix import enter_prompt, num_block_rows
from model_runtime.diffusion.task import Model, Task
from model_runtime.errors import Cancelled, RequestError


def read_prompt(model: Model, task: Task, *, leave_rest: bool = False) -> list[int]:
    """Bring all of the prompt but its last token into the cache; Cancelled between forwards.

    With `leave_rest` the rows behind the last whole block may stay unread, for the first denoising step to take along:
    both compute causal rows one by one, so they come out the same, and a forward is saved. Returns what was left.
    Sets `finish_reason` to "deadline" when the time runs out first. One forward is always done, or a short deadline
    would never get anywhere.
    """
    started = time.perf_counter()
    state, cache, prompt = task.state, model.cache, task.prompt[:-1]
    state.prompt_tokens = len(task.prompt)
    if not model.switches.prefix_cache:
        cache.truncate(0)
        model.prefixes.clear()
    if len(task.prompt) > cache.capacity:  # said before the cache gives up what it holds
        raise RequestError(f"{len(task.prompt)} prompt tokens do not fit the cache of {cache.capacity}")
    state.cached_tokens = enter_prompt(cache, model.prefixes, prompt)
    while cache.length < len(prompt):
        if task.should_stop():
            raise Cancelled("stopped while reading the prompt")
        rows = _next_rows(model, prompt)
        is_rest = cache.length >= num_block_rows(len(prompt))
        if leave_rest and is_rest and not _is_too_late(model, task, len(rows) + 1):
            break
        if cache.length > state.cached_tokens and _is_too_late(model, task, len(rows)):
            state.finish_reason = "deadline"
            break
        _read(model, rows, len(prompt), waits=task.params.deadline_ms is not None)
    state.prefill_ms = (time.perf_counter() - started) * 1e3
    return prompt[cache.length :] if state.finish_reason is None else []


def _next_rows(model: Model, prompt: Sequence[int]) -> Sequence[int]:
    """The rows of the next forward: whole blocks, then what is left over."""
    start, in_blocks = model.cache.length, num_block_rows(len(prompt))
    if start >= in_blocks:
        return prompt[start:]
    return prompt[start : min(in_blocks, start + model.pace.prompt_rows)]


def _is_too_late(model: Model, task: Task, num_rows: int) -> bool:
    left = task.ms_left()
    return left is not None and left < model.pace.prompt_ms(num_rows)


def _read(model: Model, rows: Sequence[int], num_prompt: int, *, waits: bool) -> None:
    started = time.perf_counter()
    is_block = model.cache.length < num_block_rows(num_prompt)
    ids = torch.tensor(rows, device=model.network.device)
    hidden = model.network.forward(ids, model.cache, is_prompt=is_block)
    if waits:
        hidden[-1, 0].item()  # a GPU is only done when it has answered
    model.cache.commit(rows, is_prompt=is_block)
    model.pace.observe_prompt(len(rows), (time.perf_counter() - started) * 1e3)
