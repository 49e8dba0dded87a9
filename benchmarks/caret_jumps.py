"""The first completion behind a jump of the caret, by how long the caret rested first: time and quality, one run.

    python -m benchmarks.caret_jumps [--jumps 40] [--model coder-0.5b] [--rests 0,0.5,1.5,10] [--out FILE.json]

Every jump goes to another file, where the caret stands in front of a line that is gone; a completion is asked there
after a rest, with the server's windows and deadline, and another two characters on. During the rest the text is read
ahead (`seedls/reading_ahead.py`). Every length of rest has caches of its own and takes its turn at every jump.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.typing_sessions import Session, cut_sessions, read_texts
from model_runtime import (
    CompletionRequest,
    CompletionResult,
    Runtime,
    SamplingParams,
    StopRules,
    runtime_config_from_environment,
)
from model_runtime.evaluation.scoring import percentile
from seedls.context import completion_window
from seedls.settings import Settings

LINES_BEFORE, LINES_AFTER = 400, 120
"""More than the windows hold."""
RESTS_S = (0.0, 0.5, 1.5, 10.0)
TYPED_ON = 2
MAX_TOKENS = 40


def asked(session: Session, num_typed: int, settings: Settings) -> CompletionRequest:
    """What the server would ask there."""
    prefix = session.prefix(num_typed)
    budgets = settings.context_prefix_characters, settings.context_suffix_characters
    window = completion_window(prefix + session.after, len(prefix), *budgets)
    params = SamplingParams(max_tokens=MAX_TOKENS, deadline_ms=float(settings.completion_deadline_ms))
    return CompletionRequest(window.prefix, window.suffix, stop=StopRules(max_lines=1), params=params)


def num_read(result: CompletionResult) -> int:
    """Prompt tokens that were computed for it."""
    return result.timings.prompt_tokens - result.timings.cached_tokens


@dataclass(slots=True)
class Track:
    """One length of rest on its way through the jumps."""

    rest_s: float
    runtime: Runtime
    first: list[CompletionResult] = field(default_factory=list)
    second: list[CompletionResult] = field(default_factory=list)
    num_right: int = 0

    def jump(self, session: Session, settings: Settings) -> None:
        """Rest, then ask twice."""
        request = asked(session, 0, settings)
        if self.rest_s > 0:
            end = time.monotonic() + self.rest_s
            self.runtime.read_ahead(request, lambda: time.monotonic() >= end)
        self.first.append(self.runtime.complete(request))
        self.second.append(self.runtime.complete(asked(session, TYPED_ON, settings)))
        self.num_right += self.first[-1].text.strip() == session.wanted(0).strip()

    def row(self) -> dict[str, Any]:
        """The figures of the table."""
        times = [each.timings.total_ms for each in self.first]
        return {
            "rest_s": self.rest_s,
            "jumps": len(self.first),
            "ms_p50": round(statistics.median(times), 1),
            "ms_p95": round(percentile(times, 0.95), 1),
            "second_ms_p50": round(statistics.median(each.timings.total_ms for each in self.second), 1),
            "read_p50": round(statistics.median(map(num_read, self.first))),
            "seen_p50": round(statistics.median(each.timings.prompt_tokens for each in self.first)),
            "exact": round(self.num_right / len(self.first), 4),
        }


def run_jumps(
    runtime: Runtime, sessions: Sequence[Session], rests_s: Sequence[float], settings: Settings
) -> list[dict[str, Any]]:
    """One row a length of rest."""
    tracks = [Track(rest_s, runtime.twin(runtime.switches)) for rest_s in rests_s]
    for i, session in enumerate(sessions):
        start = i % len(tracks)
        for track in tracks[start:] + tracks[:start]:
            track.jump(session, settings)
        if sys.stderr.isatty():
            print(f"\r{i + 1}/{len(sessions)}", end="", file=sys.stderr)
    return [track.row() for track in tracks]


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table for benchmarks/README.md."""
    lines = ["| rest, s | first completion ms p50 | p95 | two characters on p50 | prompt seen p50 | read p50 | exact |"]
    lines.append("|---|---|---|---|---|---|---|")
    lines += [
        f"| {row['rest_s']:g} | {row['ms_p50']:.0f} | {row['ms_p95']:.0f} | {row['second_ms_p50']:.0f} "
        f"| {row['seen_p50']} | {row['read_p50']} | {row['exact']:.1%} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Load, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--jumps", type=int, default=40, help="(default %(default)s)")
    parser.add_argument("--rests", default=",".join(f"{rest:g}" for rest in RESTS_S), help="seconds, with commas")
    parser.add_argument("--held-out", type=Path, help="files to jump through (default: Python's own library)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    arguments = parser.parse_args(argv)
    try:
        rests_s = [float(word) for word in arguments.rests.split(",")]
    except ValueError:
        parser.error(f"--rests {arguments.rests!r}: seconds separated by commas, please")
    config = runtime_config_from_environment()
    config = replace(config, prefix_cache_bytes=2**26, threads=arguments.threads or config.threads)
    if arguments.model:
        config = replace(config, model=arguments.model)
    runtime = Runtime.load(config)
    runtime.warm_up()
    sessions = cut_sessions(read_texts(arguments.held_out), arguments.jumps, LINES_BEFORE, LINES_AFTER)
    rows = run_jumps(runtime, sessions, rests_s, Settings())
    info = runtime.info
    print(f"{info.name} ({info.precision}, digest {info.digest[:12]}) on {info.device}, {len(sessions)} jumps\n")
    print(as_markdown(rows))
    if arguments.out:
        report = {"model": asdict(info), "rows": rows}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
