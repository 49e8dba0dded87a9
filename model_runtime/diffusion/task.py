"""What one request is to the decoding loop, and what the loop says about it. No algorithm here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from model_runtime.api import FinishReason, SamplingParams, ShouldStop
from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.cache.prefix import PrefixStore
from model_runtime.diffusion.blocks import MAX_BLOCK
from model_runtime.diffusion.denoise import Network
from model_runtime.diffusion.drafts import Drafter
from model_runtime.diffusion.healing import Healing, TokenIndex
from model_runtime.diffusion.schedule import Acceptance, LatencyCurve, Pace
from model_runtime.diffusion.switches import Switches
from model_runtime.errors import RequestError
from model_runtime.prompts import InfillLayout
from model_runtime.tokenizer import Tokenizer

JudgeToken = Callable[[int], FinishReason | None]
"""Told every committed token in order; the reason to end before anything after it is looked at, else None."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The token is an end, but nothing can end there: another one is written in its place."""

    go_on_with: tuple[int, ...] = ()
    """The ids to choose from; none: all but the ends."""


Verdict = FinishReason | Refused | None
"""What a task's judge may answer."""


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
    refused: Refused | None = None
    """The model's end, where it was refused: the next token is another one."""
    first_choices: list[tuple[int, float]] = field(default_factory=list)
    """The likeliest first tokens with their log-probabilities, as many as the task asked for."""


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
    prefixes: PrefixStore = field(default_factory=lambda: PrefixStore(0))
    pace: Pace = field(default_factory=lambda: Pace(LatencyCurve.assumed("cpu")))
    acceptance: Acceptance = field(default_factory=Acceptance)
    """Learned over requests; changes how much is drafted, never what is written."""
    switches: Switches = field(default_factory=Switches)
    token_index: list[TokenIndex] = field(default_factory=list)
    """Empty until the first half-typed word: sorting the vocabulary takes some 50 ms."""

    def heal(self, typed: bytes) -> Healing:
        """The constraint that writes `typed` again."""
        if not self.token_index:
            self.token_index.append(TokenIndex(self.tokenizer))
        return Healing(self.tokenizer, self.token_index[0], typed)


@dataclass(frozen=True, slots=True)
class Task:
    """One request, as the loop sees it."""

    prompt: list[int]
    drafter: Drafter
    judge: Callable[[int], Verdict]
    params: SamplingParams
    should_stop: ShouldStop
    started: float
    """The deadline's clock, `time.perf_counter()`."""
    state: Decoding = field(default_factory=Decoding)
    healing: Healing | None = None
    first: tuple[int, float] | None = None
    """A first token to write whatever the model thinks, with its log-probability: another candidate."""
    num_first_choices: int = 0

    def ms_left(self) -> float | None:
        """Milliseconds until the deadline, negative behind it; None without one."""
        deadline = self.params.deadline_ms
        return None if deadline is None else deadline - (time.perf_counter() - self.started) * 1e3


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
    for name in ("accept_threshold", "edit_threshold"):
        if not 0.0 < getattr(params, name) <= 1.0:
            raise RequestError(f"{name} is {getattr(params, name)}, must be above 0 and at most 1")
    if not 0.0 <= params.min_confidence < 1.0:
        raise RequestError(f"min_confidence is {params.min_confidence}, must be at least 0 and below 1")
