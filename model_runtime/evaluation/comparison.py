"""Several runs of one benchmark side by side: paired differences and quality under parallelism."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.results import RunFolder, Sample, summarise
from model_runtime.evaluation.scoring import paired_p_value, quality_under_parallelism


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run read back, with its label."""

    label: str
    settings: dict[str, Any]
    samples: dict[str, Sample]


def compare_runs(paths: Sequence[Path]) -> dict[str, Any]:
    """Compare on the cases all runs share; the first run is the one the others are measured against.

    Raises EvaluationError for runs of different benchmarks or data, or with no case in common.
    """
    runs = [_load(path) for path in paths]
    for key in ("benchmark", "data_digest"):
        values = {run.settings.get(key) for run in runs}
        if len(values) > 1:
            raise EvaluationError(f"runs differ in {key}: {', '.join(sorted(map(str, values)))}")
    shared = set.intersection(*(set(run.samples) for run in runs))
    if not shared:
        raise EvaluationError("the runs have no case in common")
    rows = [_row(run, runs[0], sorted(shared)) for run in runs]
    points = [
        (row["tokens_per_forward"], 100 * row["pass_at_1"]) for row in rows if row["tokens_per_forward"] is not None
    ]
    return {
        "benchmark": runs[0].settings.get("benchmark"),
        "shared_cases": len(shared),
        "runs": rows,
        "quality_under_parallelism": round(quality_under_parallelism(points), 2) if points else None,
    }


def format_comparison(comparison: dict[str, Any]) -> str:
    """The comparison as a Markdown table."""
    lines = [
        f"{comparison['benchmark']}, {comparison['shared_cases']} shared cases",
        "",
        "| run | pass@1 | 95 % | vs first (+/-) | p | same text | edit sim. | tokens/forward | ms p50 | speed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in comparison["runs"]:
        low, high = row["interval_95"]
        cells = [
            row["label"],
            _percent(row["pass_at_1"]),
            f"{100 * low:.1f}-{100 * high:.1f}",
            f"+{row['only_this']} / -{row['only_first']}",
            f"{row['p_value']:.3f}",
            _percent(row["same_text"]),
            "-" if row["edit_similarity"] is None else f"{row['edit_similarity']:.3f}",
            "-" if row["tokens_per_forward"] is None else f"{row['tokens_per_forward']:.2f}",
            f"{row['ms_median']:.0f}",
            "-" if row["speed_ratio"] is None else f"{row['speed_ratio']:.2f}x",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if comparison["quality_under_parallelism"] is not None:
        lines += ["", f"quality under parallelism (AUP, alpha 3): {comparison['quality_under_parallelism']}"]
    return "\n".join(lines)


def _load(path: Path) -> LoadedRun:
    folder = RunFolder(path)
    settings = folder.settings()
    if not folder.samples_path.exists():
        raise EvaluationError(f"{path}: no samples.jsonl")
    return LoadedRun(path.name, settings, {sample.case_id: sample for sample in folder.samples()})


def _row(run: LoadedRun, first: LoadedRun, shared: Sequence[str]) -> dict[str, Any]:
    samples, others = [run.samples[key] for key in shared], [first.samples[key] for key in shared]
    only_this = sum(a.passed and not b.passed for a, b in zip(samples, others, strict=True))
    only_first = sum(b.passed and not a.passed for a, b in zip(samples, others, strict=True))
    mine, theirs = sum(s.ms for s in samples), sum(s.ms for s in others)
    same = sum(a.answer == b.answer for a, b in zip(samples, others, strict=True))
    return {
        "label": run.label,
        **summarise(samples),
        "only_this": only_this,
        "only_first": only_first,
        "p_value": paired_p_value(only_first, only_this),
        "same_text": same / len(shared),
        "speed_ratio": theirs / mine if mine and theirs else None,
    }


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
