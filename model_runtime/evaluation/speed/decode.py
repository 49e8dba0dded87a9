"""The same work decoded by every policy and block size on the same weights in one run: ratios, and ms a forward.

Rounds are interleaved (every setting once, then again), so that a machine that gets slower hurts all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model_runtime.evaluation.cases import Answer, Case
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.solvers import DecodeOptions, Decoder, RuntimeSolver
from model_runtime.evaluation.speed.timing import Spread


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to decode."""

    options: DecodeOptions

    @property
    def name(self) -> str:
        """Like `lossless-b16-s4`; `lossless` alone where the runtime chooses."""
        options = self.options
        block = f"-b{options.block}" if options.block else ""
        return f"{options.policy}{block}{f'-s{options.steps}' if options.steps else ''}"


def settings_for(blocks: Sequence[int], steps: Sequence[int]) -> list[Setting]:
    """`ar` once; `lossless` and `fast` with the runtime's own choice, each block size, and each step count."""
    settings = [Setting(DecodeOptions("ar"))]
    for policy in ("lossless", "fast"):
        settings.append(Setting(DecodeOptions(policy)))
        settings += [Setting(DecodeOptions(policy, block=block)) for block in blocks]
        settings += [Setting(DecodeOptions(policy, steps=count)) for count in steps]
    return settings


def measure_decoding(
    runtime: Decoder, cases: Sequence[Case], settings: Sequence[Setting], rounds: int
) -> dict[str, dict[str, Any]]:
    """Setting name -> figures. The first setting is the baseline of `speed_ratio` and `same_text`."""
    answers: dict[str, list[list[Answer]]] = {setting.name: [] for setting in settings}
    bar = ProgressBar(rounds * len(settings) * len(cases), "decode")
    for _ in range(rounds):
        for setting in settings:
            solver = RuntimeSolver(runtime, setting.options)
            row = []
            for case in cases:
                row.append(solver.solve(case))
                bar.advance(setting.name)
            answers[setting.name].append(row)
    bar.close()
    baseline = answers[settings[0].name]
    return {name: _figures(rows, baseline) for name, rows in answers.items()}


def _figures(rows: list[list[Answer]], baseline: list[list[Answer]]) -> dict[str, Any]:
    tokens = sum(answer.tokens for row in rows for answer in row)
    forwards = sum(answer.forwards for row in rows for answer in row)
    # One figure a round: total time of all cases; the ratio of medians is steadier than the median of ratios.
    per_round = Spread.of([sum(answer.ms for answer in row) for row in rows])
    base_round = Spread.of([sum(answer.ms for answer in row) for row in baseline])
    denoise = [_denoise_ms(answer) for row in rows for answer in row]
    forward_ms = Spread.of([_denoise_ms(answer) / answer.forwards for row in rows for answer in row if answer.forwards])
    request = Spread.of([answer.ms for row in rows for answer in row])
    same = [a.text == b.text for row, base in zip(rows, baseline, strict=True) for a, b in zip(row, base, strict=True)]
    denoise_seconds = sum(denoise) / 1000
    return {
        "tokens": tokens,
        "forwards": forwards,
        "tokens_per_forward": round(tokens / forwards, 3) if forwards else None,
        "tokens_per_second": round(tokens / denoise_seconds, 2) if denoise_seconds else None,
        "ms_per_forward": round(forward_ms.median, 3),
        "request_ms": round(request.median, 2),
        "request_ms_quartiles": [round(request.low, 2), round(request.high, 2)],
        "round_ms": round(per_round.median, 1),
        "speed_ratio": round(base_round.median / per_round.median, 3) if per_round.median else None,
        "same_text": round(sum(same) / len(same), 4) if same else None,
    }


def _denoise_ms(answer: Answer) -> float:
    """Where a solver cannot tell, the whole request."""
    return answer.denoise_ms or answer.ms
