"""A bench report as text, and the comparison with an earlier one."""

from __future__ import annotations

from typing import Any

from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.speed.timing import Regression, regressions

_DECODE_COLUMNS = (
    "tokens_per_forward",
    "tokens_per_second",
    "ms_per_forward",
    "request_ms",
    "speed_ratio",
    "same_text",
)


def format_report(report: dict[str, Any]) -> str:
    """Markdown tables of whatever the report holds."""
    lines = [f"{report['date']}  {report.get('model', '')}  {report['machine']}"]
    for subject in ("decode", "edit"):
        if subject in report:
            lines += ["", _table(subject, _DECODE_COLUMNS, report[subject])]
    if "latency" in report:
        lines += ["", _table("block", ("ms_per_forward", "quartiles", "forwards"), report["latency"])]
    if "prefill" in report:
        lines += ["", _table("prompt tokens", ("tokens", "ms", "quartiles", "ms_per_token"), report["prefill"])]
    if "cancel" in report:
        lines += ["", "cancel to idle: " + ", ".join(f"{key} {value}" for key, value in report["cancel"].items())]
    if "load" in report:
        lines += ["", "load: " + ", ".join(f"{key} {value}" for key, value in report["load"].items())]
    if "peers" in report:
        lines.append("")
        lines += [f"{name}: " + ", ".join(f"{k} {v}" for k, v in row.items()) for name, row in report["peers"].items()]
    return "\n".join(lines)


def find_regressions(before: dict[str, Any], now: dict[str, Any], tolerance: float) -> list[Regression]:
    """What got slower (ms) or less parallel (tokens a forward) by more than `tolerance`.

    Raises EvaluationError when the two reports did different work.
    """
    if before.get("workload") != now.get("workload"):
        raise EvaluationError(f"workload {before.get('workload')} cannot be compared with {now.get('workload')}")
    slower = regressions(_milliseconds(before), _milliseconds(now), tolerance, higher_is_better=False)
    return slower + regressions(_parallelism(before), _parallelism(now), tolerance, higher_is_better=True)


def _milliseconds(report: dict[str, Any]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for subject in ("decode", "edit"):
        for name, row in report.get(subject, {}).items():
            figures[f"{subject} {name} request_ms"] = row["request_ms"]
            figures[f"{subject} {name} ms_per_forward"] = row["ms_per_forward"]
    for block, row in report.get("latency", {}).items():
        figures[f"latency block {block} ms_per_forward"] = row["ms_per_forward"]
    for length, row in report.get("prefill", {}).items():
        figures[f"prefill {length} ms_per_token"] = row["ms_per_token"] or 0.0
    if "peers" in report:
        runtime = report["peers"]["runtime"]
        figures |= {f"peers runtime {kind}": runtime[kind] for kind in ("cold_ms", "repeated_ms", "typing_ms")}
    if "cancel" in report:
        figures["cancel p50_ms"] = report["cancel"]["p50_ms"]
    if "load" in report:
        figures["load load_s"] = report["load"]["load_s"]
        figures["load peak_rss_mb"] = report["load"]["peak_rss_mb"]
    return {name: value for name, value in figures.items() if value}


def _parallelism(report: dict[str, Any]) -> dict[str, float]:
    return {
        f"{subject} {name} tokens_per_forward": row["tokens_per_forward"]
        for subject in ("decode", "edit")
        for name, row in report.get(subject, {}).items()
        if row["tokens_per_forward"]
    }


def _table(title: str, columns: tuple[str, ...], rows: dict[str, dict[str, Any]]) -> str:
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(str(row[column]) for column in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)
