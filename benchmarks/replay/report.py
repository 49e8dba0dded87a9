"""Rates and latencies of replayed requests. Knows no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.replay.editor import Ask
from benchmarks.replay.faults import count_faults
from model_runtime.evaluation.scoring import kept_characters, percentile, wilson_interval


def summarise(asks: Sequence[Ask]) -> dict[str, Any]:
    """Show rate (of requests that should show), quiet rate (of those that should not), kept characters, latencies.

    Kept: characters of shown suggestions that survive, in order, in the wanted text, over characters shown; and over
    characters wanted. `exact` is the share of wanted texts shown in full.
    """
    should_show = [ask for ask in asks if ask.expect == "show"]
    should_be_quiet = [ask for ask in asks if ask.expect == "quiet"]
    shown = [ask for ask in should_show if ask.shown]
    quiet = [ask for ask in should_be_quiet if not ask.shown]
    kept = sum(kept_characters(ask.shown, ask.wanted) for ask in shown)
    shown_characters = sum(len(ask.shown) for ask in shown)
    wanted_characters = sum(len(ask.wanted) for ask in should_show)
    return {
        "traces": len({ask.trace for ask in asks}),
        "requests": len(asks),
        "errors": sum(bool(ask.error) and ask.kind != "cancel" for ask in asks),
        "show_rate": _rate(len(shown), len(should_show)),
        "quiet_rate": _rate(len(quiet), len(should_be_quiet)),
        "kept_of_shown": round(kept / shown_characters, 4) if shown_characters else None,
        "kept_of_wanted": round(kept / wanted_characters, 4) if wanted_characters else None,
        "exact": _rate(sum(ask.shown.strip() == ask.wanted.strip() for ask in should_show), len(should_show)),
        "faults": count_faults([ask.faults for ask in asks]),
        "answer_ms": _latency([ask for ask in asks if ask.kind in ("ask", "hurry")]),
        "invoked_ms": _latency([ask for ask in asks if ask.kind == "invoke"]),
        "cancel_to_answer_ms": _latency([ask for ask in asks if ask.kind == "cancel"]),
        "answer_ms_after": {
            verb: _latency([ask for ask in asks if ask.after == verb and ask.kind in ("ask", "hurry")])
            for verb in sorted({ask.after for ask in asks if ask.kind in ("ask", "hurry")})
        },
    }


def format_summary(summary: dict[str, Any]) -> str:
    """The summary as lines for people."""
    lines = [f"{summary['traces']} traces, {summary['requests']} requests, {summary['errors']} errors"]
    for key in ("show_rate", "quiet_rate", "exact"):
        rate = summary[key]
        low, high = rate["interval_95"]
        share = "-" if rate["share"] is None else f"{100 * rate['share']:.1f} %"
        lines.append(f"{key:20} {share} ({rate['count']}/{rate['of']}, 95 % {100 * low:.0f}-{100 * high:.0f})")
    for key in ("kept_of_shown", "kept_of_wanted"):
        value = summary[key]
        lines.append(f"{key:20} {'-' if value is None else f'{100 * value:.1f} %'}")
    lines += [f"{name:20} {count}" for name, count in summary["faults"].items()]
    for key in ("answer_ms", "invoked_ms", "cancel_to_answer_ms"):
        lines.append(f"{key:20} {_format_latency(summary[key])}")
    lines += [f"  after {verb:12} {_format_latency(row)}" for verb, row in summary["answer_ms_after"].items()]
    return "\n".join(lines)


def misses(asks: Sequence[Ask]) -> list[Ask]:
    """Requests that went against the trace: shown where quiet was right, quiet where a suggestion was."""
    return [ask for ask in asks if (ask.expect == "show") != bool(ask.shown) and ask.expect]


def _rate(count: int, of: int) -> dict[str, Any]:
    low, high = wilson_interval(count, of)
    return {
        "share": round(count / of, 4) if of else None,
        "count": count,
        "of": of,
        "interval_95": [round(low, 4), round(high, 4)],
    }


def _latency(asks: Sequence[Ask]) -> dict[str, Any]:
    values = [ask.ms for ask in asks]
    return {"p50": round(percentile(values, 0.5), 1), "p95": round(percentile(values, 0.95), 1), "count": len(values)}


def _format_latency(row: dict[str, Any]) -> str:
    return f"p50 {row['p50']} ms, p95 {row['p95']} ms (n={row['count']})" if row["count"] else "-"
