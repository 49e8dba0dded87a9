"""How much text around a hole the model reads: as much as fits the cache, and what the deadline leaves time for.

The windows come from a fixed ladder, and a prefix that is too long starts at a multiple of a step, so that they, and
with them the cached rows, stay put while the user types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_runtime.diffusion.schedule import Pace


@dataclass(frozen=True, slots=True)
class Window:
    """The most tokens read before and after the hole."""

    prefix: int
    suffix: int


LADDER = (Window(1536, 512), Window(768, 256), Window(384, 128), Window(192, 64))
"""Widest first. On a quiet two-core machine a rung takes about 4, 2, 1 and 0.5 s to read from nothing."""

PREFILL_SHARE = 0.6
"""Of the time left, for reading: the rest is for writing."""


def end_of(token_ids: list[int], max_tokens: int) -> list[int]:
    """The end of a text that is too long, starting at a multiple of a step from its beginning."""
    excess = len(token_ids) - max_tokens
    if excess <= 0:
        return token_ids
    step = max(1, max_tokens // 6)
    return token_ids[-(-excess // step) * step :]


def choose_prompt(
    prompt_of: Callable[[Window], list[int]],
    num_missing: Callable[[list[int]], int],
    capacity: int,
    pace: Pace,
    ms_left: float | None,
) -> list[int]:
    """The prompt of the widest window that fits the cache and can be read in time, else of the narrowest that fits.

    `num_missing` counts a prompt's tokens that are not cached: a wide window costs nothing once it is there.
    """
    narrowest: list[int] | None = None
    for window in LADDER:
        prompt = prompt_of(window)
        if len(prompt) > capacity:
            continue
        narrowest = prompt
        if ms_left is None or pace.prompt_ms(num_missing(prompt)) <= ms_left * PREFILL_SHARE:
            return prompt
    return prompt if narrowest is None else narrowest
