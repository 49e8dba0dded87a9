"""Milliseconds to read a new prompt and choose its first token, by its length, on the user's own device.

Taken through the public API: a hole in a file that no cache has seen, one token asked for. The step that chooses it
counts, since it may read the prompt's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_runtime.api import CompletionRequest, SamplingParams
from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.solvers import Decoder
from model_runtime.evaluation.speed.timing import Spread

DEFAULT_LENGTHS = (128, 512, 1024)
CHARS_PER_TOKEN = 3.3
"""Of Python in the default vocabulary; only sets how much text is sent: the tokens read are counted."""


def measure_prefill(
    runtime: Decoder, case: Case, lengths: Sequence[int] = DEFAULT_LENGTHS, rounds: int = 3
) -> dict[str, dict[str, Any]]:
    """Wanted length (as text, for JSON) -> tokens really read (median), ms and quartiles, ms a token.

    The first round of each length is a warm-up and not counted.
    """
    figures: dict[str, dict[str, Any]] = {}
    bar = ProgressBar(len(lengths) * (rounds + 1), "prefill")
    for length in lengths:
        counted, milliseconds = [], []
        for index in range(rounds + 1):
            read, ms = _read(runtime, case, f"# prompt {length}, round {index}\n", length)
            bar.advance(f"{length} tokens")
            if index:
                counted.append(float(read))
                milliseconds.append(ms)
        tokens, spread = Spread.of(counted).median, Spread.of(milliseconds)
        figures[str(length)] = {
            "tokens": tokens,
            "ms": round(spread.median, 1),
            "quartiles": [round(spread.low, 1), round(spread.high, 1)],
            "ms_per_token": round(spread.median / tokens, 3) if tokens else None,
        }
    bar.close()
    return figures


def _read(runtime: Decoder, case: Case, first_line: str, length: int) -> tuple[int, float]:
    """(tokens that were not in the cache, ms)."""
    num_chars = int(length * CHARS_PER_TOKEN)
    text = first_line + case.prefix * (num_chars // max(1, len(case.prefix)) + 1)
    request = CompletionRequest(prefix=text[:num_chars], language=case.language, params=SamplingParams(max_tokens=1))
    timings = runtime.complete(request).timings
    return timings.prompt_tokens - timings.cached_tokens, timings.prefill_ms + timings.denoise_ms
