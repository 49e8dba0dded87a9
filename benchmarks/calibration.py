"""What a minimum confidence buys: the share of lines shown and the share of those that are right, for each value.

    python -m benchmarks.calibration [--sessions 100] [--right 0.5] [--held-out FILE.jsonl.xz]

Recommends the smallest value for which the lines shown reach the share of right ones asked for. The default of
`seedls.completionMinConfidence` should be a value printed by this command for the default model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.typing_sessions import Session, cut_sessions, interleaved, read_texts
from model_runtime import CompletionRequest, Runtime, SamplingParams, StopRules, runtime_config_from_environment

MINIMA = tuple(round(0.05 * i, 2) for i in range(20))


def judge_lines(runtime: Runtime, sessions: Sequence[Session]) -> list[tuple[float, bool]]:
    """(confidence, is what the author wrote) of every line the model proposes."""
    judged = []
    for session, num_typed in interleaved(sessions):
        request = CompletionRequest(
            session.prefix(num_typed),
            session.after,
            stop=StopRules(max_lines=1),
            params=SamplingParams(max_tokens=40),
        )
        result = runtime.complete(request)
        if result.text.strip():
            judged.append((result.confidence, result.text.strip() == session.wanted(num_typed).strip()))
        if sys.stderr.isatty():
            print(f"\r{len(judged)} lines", end="", file=sys.stderr)
    return judged


def table(judged: Sequence[tuple[float, bool]]) -> list[tuple[float, float, float | None]]:
    """(minimum, share shown, share of those that are right or None) for every minimum."""
    rows: list[tuple[float, float, float | None]] = []
    for minimum in MINIMA:
        shown = [is_right for value, is_right in judged if value >= minimum]
        rows.append((minimum, len(shown) / max(1, len(judged)), sum(shown) / len(shown) if shown else None))
    return rows


def recommend(rows: Sequence[tuple[float, float, float | None]], right: float) -> float | None:
    """The smallest minimum from which on every larger one with lines left reaches `right`; None if there is none."""
    best: float | None = None
    for minimum, _, share in reversed(rows):
        if share is None:
            continue
        if share < right:
            break
        best = minimum
    return best


def main(argv: Sequence[str] | None = None) -> int:
    """Load, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--sessions", type=int, default=100, help="lines typed (default %(default)s)")
    parser.add_argument(
        "--right", type=float, default=0.5, help="share of shown lines to be right (default %(default)s)"
    )
    parser.add_argument("--held-out", type=Path, help="files to take lines from (default: Python's own library)")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args(argv)
    config = runtime_config_from_environment()
    config = replace(config, model=arguments.model or config.model, threads=arguments.threads or config.threads)
    runtime = Runtime.load(config)
    judged = judge_lines(runtime, cut_sessions(read_texts(arguments.held_out), arguments.sessions))
    rows = table(judged)
    print(f"{runtime.info.name} ({runtime.info.precision}), {len(judged)} lines proposed\n")
    print("| minimum | shown | right of shown |\n|---|---|---|")
    for minimum, shown, right in rows:
        print(f"| {minimum:.2f} | {shown:.1%} | {'-' if right is None else f'{right:.1%}'} |")
    best = recommend(rows, arguments.right)
    print(f"\nrecommended for {arguments.right:.0%} right: {'none reaches it' if best is None else best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
