"""T(b): milliseconds of one denoising forward for each block size b, as the user's own device runs it.

Taken through the public API: decoding a fixed hole under `lossless` with the block size forced, median of
(time after the prompt is cached / forwards). It holds what a step costs in use: the forward, sampling, bookkeeping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.solvers import DecodeOptions, Decoder, RuntimeSolver
from model_runtime.evaluation.speed.timing import Spread

DEFAULT_BLOCKS = (1, 2, 4, 8, 16, 32, 64)


def measure_latency_curve(
    runtime: Decoder, case: Case, blocks: Sequence[int] = DEFAULT_BLOCKS, rounds: int = 5
) -> dict[str, dict[str, Any]]:
    """Block size (as text, for JSON) -> median and quartiles of ms a forward, and forwards measured.

    The first round of each block size is a warm-up and not counted.
    """
    figures: dict[str, dict[str, Any]] = {}
    bar = ProgressBar(len(blocks) * (rounds + 1), "T(b)")
    for block in blocks:
        solver = RuntimeSolver(runtime, DecodeOptions("lossless", block=block))
        per_forward, forwards = [], 0
        for index in range(rounds + 1):
            answer = solver.solve(case)
            bar.advance(f"block {block}")
            if index and answer.forwards:
                per_forward.append((answer.denoise_ms or answer.ms) / answer.forwards)
                forwards += answer.forwards
        spread = Spread.of(per_forward)
        figures[str(block)] = {
            "ms_per_forward": round(spread.median, 3),
            "quartiles": [round(spread.low, 3), round(spread.high, 3)],
            "forwards": forwards,
        }
    bar.close()
    return figures
