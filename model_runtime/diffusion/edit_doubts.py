"""Where a text is probably wrong, from one pass over it: what the model would hardly have written there.

The model is asked to repair the code, and the old code is put into its mouth: every row's logits say how likely the old
token is as the next one of the repaired code. A token far less likely than the model's own choice is a doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from model_runtime.api import ShouldStop
from model_runtime.cache.prefix import BLOCK
from model_runtime.diffusion.generate import Model
from model_runtime.diffusion.prefill import read_prompt
from model_runtime.diffusion.samplers import draft_ratios
from model_runtime.diffusion.task import Task
from model_runtime.errors import Cancelled

DOUBTFUL_RATIO = 0.1
"""A token at most this fraction as likely as the model's choice is doubted."""
MAX_DOUBTS = 4
"""Lines that one window's repair looks at, the most doubtful first."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How likely each token of a text is, as a fraction of the likeliest one, 0-1."""

    ratios: tuple[float, ...]
    forwards: int


@torch.inference_mode()
def score(model: Model, task: Task, token_ids: Sequence[int], should_stop: ShouldStop) -> Scores:
    """One pass over `token_ids` behind the task's prompt; Cancelled between forwards."""
    read_prompt(model, task)
    cache, network = model.cache, model.network
    rows = [task.prompt[-1], *token_ids]
    cache.require_room(len(rows))
    ratios: list[float] = []
    forwards = 0
    for start in range(0, len(token_ids), BLOCK):
        if should_stop():
            raise Cancelled("stopped while looking for mistakes")
        chunk = rows[start : start + BLOCK]
        wanted = token_ids[start : start + len(chunk)]
        chunk = chunk[: len(wanted)]
        hidden = network.forward(torch.tensor(chunk, device=network.device), cache)
        logits = network.logits(hidden)
        logits[:, model.forbidden] = float("-inf")
        ratios += draft_ratios(logits, torch.tensor(wanted, device=logits.device))
        cache.commit(chunk)
        forwards += 1
    return Scores(tuple(ratios), forwards)


def doubtful_lines(code: str, lengths: Sequence[int], ratios: Sequence[float]) -> list[tuple[int, int]]:
    """[start, end) characters of the lines with the most doubtful tokens, in text order, neighbours joined.

    `lengths` are the bytes of each token. The first doubt is the surest: behind a mistake the model is confused, so of
    lines that are about equally doubtful the earlier one is taken.
    """
    line_starts, offsets = _line_starts(code), [0]
    for length in lengths:
        offsets.append(offsets[-1] + length)
    worst: dict[int, float] = {}
    raw, line = code.encode("utf-8"), 0
    for offset, ratio in zip(offsets, ratios, strict=False):
        while line + 1 < len(line_starts) and line_starts[line + 1] <= offset:
            line += 1
        if ratio <= DOUBTFUL_RATIO:
            worst[line] = min(ratio, worst.get(line, 1.0))
    chosen = sorted(sorted(worst, key=lambda each: (round(worst[each], 2), each))[:MAX_DOUBTS])
    ends = [*line_starts[1:], len(raw)]
    spans = [(_characters(raw, line_starts[each]), _characters(raw, ends[each])) for each in chosen]
    return joined(spans)


def joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that touch or overlap made one."""
    result: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def _line_starts(code: str) -> list[int]:
    """Byte offsets."""
    starts = [0]
    for line in code.encode("utf-8").split(b"\n")[:-1]:
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _characters(raw: bytes, offset: int) -> int:
    return len(raw[:offset].decode("utf-8", "ignore"))
