"""A denoising step that the network decides by itself, so that logits never exist: greedy, some ids forbidden.

Translates between the decoder's terms (policy, guesses, refined canvas) and the network's row by row record. The
decision is denoise.py's, computed elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from model_runtime.api import SamplingParams
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.cuda_path.network import FusedNetwork

_ONLY_THE_BEST = 2.0
"""Above 1: a guess stands only where it is the best token."""


class Decision(NamedTuple):
    """The fields of a `StepResult`."""

    token_ids: list[int]
    log_probs: list[float]
    num_accepted: int
    canvas: list[int]
    canvas_probs: list[float]


def decides_by_itself(network: object, params: SamplingParams, allowed: Sequence[Sequence[int]]) -> bool:
    """True where the step can be left to the network: no sampling, no rows restricted to some ids."""
    return isinstance(network, FusedNetwork) and params.temperature == 0.0 and not any(allowed)


def reads_whole_prompts(network: object) -> bool:
    """True where a step has no place for rows that were not read yet: it lays out its own."""
    return isinstance(network, FusedNetwork)


def decide_step(
    network: object,
    cache: KeyValueCache,
    anchor: int,
    canvas: Sequence[int],
    num_masks: int,
    params: SamplingParams,
    forbidden: Tensor,
    *,
    accept_all: bool,
) -> Decision:
    """`denoise_step` by the network: commits the anchor and the accepted rows to the cache."""
    assert isinstance(network, FusedNetwork)
    accept = params.accept_threshold if params.policy == "fast" else _ONLY_THE_BEST
    record = network.decide(anchor, canvas, num_masks, cache, forbidden, 0.0 if accept_all else accept)
    num_accepted, num_causal = record.num_accepted, 1 + len(canvas)
    accepted = list(canvas[:num_accepted])
    cache.commit([anchor, *accepted])
    probs = [*record.guess_probs[:num_accepted], record.probs[num_accepted]]
    refined = slice(num_causal, None) if num_accepted == len(canvas) else slice(num_accepted + 1, num_causal)
    return Decision(
        [*accepted, record.token_ids[num_accepted]],
        [math.log(max(prob, 1e-38)) for prob in probs],
        num_accepted,
        record.token_ids[refined],
        record.probs[refined],
    )
