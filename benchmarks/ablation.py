"""Each of the decoder's ideas on and off: time, work and quality on the same requests in one run, as a Markdown table.

    python -m benchmarks.ablation [--sessions 40] [--model coder-0.5b] [--only "fast policy"] [--out FILE.json]

Every variant runs over the same weights with caches of its own, and takes its turn at every request, so that a machine
that gets slower hurts all alike. `read` is prompt tokens computed, `forwards` denoising steps: neither depends on how
busy the machine is. A variant that the model has nothing to switch for (no denoiser: nothing to fuse) says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.typing_sessions import Session, cut_sessions, interleaved, read_texts
from model_runtime import (
    CompletionRequest,
    CompletionResult,
    Runtime,
    SamplingParams,
    StopRules,
    runtime_config_from_environment,
)
from model_runtime.diffusion.switches import Switches
from model_runtime.evaluation.scoring import percentile

MAX_TOKENS = 40
MIN_CONFIDENCE = 0.5

VARIANTS: dict[str, tuple[Switches, str]] = {
    "all on": (Switches(), "lossless"),
    "prefix cache off": (Switches(prefix_cache=False), "lossless"),
    "warm canvas off": (Switches(warm_canvas=False), "lossless"),
    "verification fusion off": (Switches(fusion=False), "lossless"),
    "T(b) scheduler off": (Switches(schedule=False), "lossless"),
    "token healing off": (Switches(healing=False), "lossless"),
    "gating off": (Switches(gating=False), "lossless"),
    "one token a forward": (Switches(), "ar"),
    "fast policy": (Switches(), "fast"),
}


@dataclass(slots=True)
class Track:
    """One variant on its way through the requests."""

    name: str
    runtime: Runtime
    policy: str
    min_confidence: float
    results: list[CompletionResult] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    proposed: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Session -> (characters typed, text proposed) of its last request."""

    def ask(self, session: Session, num_typed: int) -> None:
        """One request, with what this variant proposed before as its draft."""
        request = CompletionRequest(
            session.prefix(num_typed),
            session.after,
            draft=self._draft(session, num_typed),
            stop=StopRules(max_lines=1),
            params=SamplingParams(
                policy=self.policy,  # type: ignore[arg-type]
                max_tokens=MAX_TOKENS,
                min_confidence=self.min_confidence,
            ),
        )
        result = self.runtime.complete(request)
        self.results.append(result)
        self.wanted.append(session.wanted(num_typed))
        self.proposed[session.name] = (num_typed, result.text)

    def _draft(self, session: Session, num_typed: int) -> str:
        """The rest of the last proposal: behind what was typed since, or behind as many characters as were."""
        before, text = self.proposed.get(session.name, (num_typed, ""))
        return text[num_typed - before :]

    def row(self) -> dict[str, Any]:
        """The figures of the table."""
        shown = [bool(each.text.strip()) for each in self.results]
        right = [each.text.strip() == want.strip() for each, want in zip(self.results, self.wanted, strict=True)]
        times = [each.timings.total_ms for each in self.results]
        tokens, forwards = sum(each.tokens for each in self.results), sum(each.forwards for each in self.results)
        return {
            "variant": self.name,
            "requests": len(self.results),
            "ms_p50": round(statistics.median(times), 1),
            "ms_p95": round(percentile(times, 0.95), 1),
            "read": sum(each.timings.prompt_tokens - each.timings.cached_tokens - 1 for each in self.results),
            "forwards": forwards,
            "tokens_per_forward": round(tokens / forwards, 3),
            "exact": round(sum(right) / len(right), 4),
            "shown": round(sum(shown) / len(shown), 4),
            "exact_of_shown": round(sum(right) / sum(shown), 4) if any(shown) else None,
        }


def run_ablation(
    runtime: Runtime, sessions: Sequence[Session], min_confidence: float, names: Sequence[str] = tuple(VARIANTS)
) -> list[dict[str, Any]]:
    """One row a variant; the first of `names` is what the texts of the others are compared with."""
    tracks = [Track(name, runtime.twin(VARIANTS[name][0]), VARIANTS[name][1], min_confidence) for name in names]
    requests = interleaved(sessions)
    for i, (session, num_typed) in enumerate(requests):
        # The first of a round finds the processor's caches cold: each has to be it as often.
        start = i % len(tracks)
        for track in tracks[start:] + tracks[:start]:
            track.ask(session, num_typed)
        if sys.stderr.isatty():
            print(f"\r{i + 1}/{len(requests)}", end="", file=sys.stderr)
    rows = [track.row() for track in tracks]
    for track, row in zip(tracks, rows, strict=True):
        row["same_text_as_all_on"] = sum(
            a.text == b.text for a, b in zip(track.results, tracks[0].results, strict=True)
        ) / len(requests)
        if not track.runtime.switches.fusion and not runtime.has_denoiser:
            row["note"] = "no denoiser: nothing to fuse"
    return rows


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table for benchmarks/README.md."""
    head = (
        "| variant | ms p50 | p95 | prompt tokens read | forwards | tokens/forward | exact | shown | exact of shown |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        note = f" ({row['note']})" if "note" in row else ""
        right = "-" if row["exact_of_shown"] is None else f"{row['exact_of_shown']:.1%}"
        lines.append(
            f"| {row['variant']}{note} | {row['ms_p50']:.0f} | {row['ms_p95']:.0f} | {row['read']} | {row['forwards']} "
            f"| {row['tokens_per_forward']:.2f} | {row['exact']:.1%} | {row['shown']:.1%} | {right} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Load, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--sessions", type=int, default=40, help="lines typed (default %(default)s)")
    parser.add_argument("--min-confidence", type=float, default=MIN_CONFIDENCE, help="of gating (default %(default)s)")
    parser.add_argument("--held-out", type=Path, help="files to take lines from (default: Python's own library)")
    parser.add_argument("--only", help=f"variants separated by commas, beside 'all on': {', '.join(VARIANTS)}")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    arguments = parser.parse_args(argv)
    names = tuple(VARIANTS) if arguments.only is None else ("all on", *arguments.only.split(","))
    if unknown := set(names) - set(VARIANTS):
        parser.error(f"unknown variant {sorted(unknown)[0]!r} (known: {', '.join(VARIANTS)})")
    config = runtime_config_from_environment()
    # Every variant has caches of its own: small ones do for these windows.
    config = replace(config, cache_tokens=4096, prefix_cache_bytes=2**26, threads=arguments.threads or config.threads)
    if arguments.model:
        config = replace(config, model=arguments.model)
    runtime = Runtime.load(config)
    runtime.warm_up()
    sessions = cut_sessions(read_texts(arguments.held_out), arguments.sessions)
    rows = run_ablation(runtime, sessions, arguments.min_confidence, names)
    info = runtime.info
    print(f"{info.name} ({info.precision}, digest {info.digest[:12]}) on {info.device}, {len(sessions)} sessions, ")
    print(f"{rows[0]['requests']} requests each, minimum confidence {arguments.min_confidence}\n")
    print(as_markdown(rows))
    if arguments.out:
        report = {"model": asdict(info), "sessions": len(sessions), "rows": rows}
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
