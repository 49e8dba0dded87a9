"""The table of stages: stage 0, 1, +2, +3, +4 on completion, edit and repair, through the real decoder.

A row is measured once and kept; the command that stopped half-way goes on with the rows it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_runtime.api import Policy
from model_runtime.config import Precision
from model_runtime.conversion import hash_file
from model_runtime.training.card import write_json
from model_runtime.training.decoder_figures import CASE_SETS, Answer, Case, answer, runtime_with, set_figures
from model_runtime.training.runs import Report

REPORT_EVERY = 10


@dataclass(frozen=True, slots=True)
class Variant:
    """A row of the table: the base with healing, and the denoiser of one stage or none."""

    name: str
    mask: Path | None
    policy: Policy = "lossless"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all rows share."""

    base: Path
    healing: Path | None
    precision: Precision
    threads: int | None
    max_tokens: int = 400


def measure_variants(
    setting: Setting, variants: Sequence[Variant], cases: Sequence[Case], out: Path, report: Report
) -> dict[str, Any]:
    """Measure every row that `out` (JSON) does not hold yet for these cases and adapters; returns all of them."""
    document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    rows = document.setdefault("rows", {})
    for variant in variants:
        made_of = _identity(setting, variant, cases)
        if rows.get(variant.name, {}).get("made_of") == made_of:
            report(f"{variant.name}: already measured")
            continue
        answers = _answers(setting, variant, cases, report)
        rows[variant.name] = {
            "made_of": made_of,
            "policy": variant.policy,
            "sets": set_figures(cases, answers),
            "texts": [each.text for each in answers],
        }
        write_json(out, document)
    return document


def _answers(setting: Setting, variant: Variant, cases: Sequence[Case], report: Report) -> list[Answer]:
    answers = []
    with runtime_with(setting.base, setting.healing, variant.mask, setting.precision, setting.threads) as runtime:
        for number, case in enumerate(cases, 1):
            answers.append(answer(runtime, case, variant.policy, setting.max_tokens))
            if number % REPORT_EVERY == 0:
                report(f"{variant.name}: {number} of {len(cases)} cases")
    return answers


def _identity(setting: Setting, variant: Variant, cases: Sequence[Case]) -> dict[str, str]:
    import hashlib

    text = json.dumps([asdict(case) for case in cases])
    files = {"healing": setting.healing, "mask": variant.mask}
    digests = {name: hash_file(path).sha256 if path is not None else "" for name, path in files.items()}
    return {
        **digests,
        "policy": variant.policy,
        "max_tokens": str(setting.max_tokens),
        "cases": hashlib.sha256(text.encode()).hexdigest(),
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a line a row, three figures a set; `same text` compares with the first row, case by case."""
    names = [name for name in CASE_SETS if any(name in row["sets"] for row in rows.values())]
    head = [f"{name}: tokens a forward | exact | similarity" for name in names]
    lines = [f"| stage | policy | {' | '.join(head)} | same text |", "|---" * (3 + 3 * len(names)) + "|"]
    first = next(iter(rows.values()))["texts"] if rows else []
    for title, row in rows.items():
        cells = [
            f"{row['sets'][name]['tokens_per_forward']:.2f} | {row['sets'][name]['exact']:.1%}"
            f" | {row['sets'][name]['similarity']:.3f}"
            for name in names
        ]
        same = sum(a == b for a, b in zip(first, row["texts"], strict=True)) / max(1, len(first))
        lines.append(f"| {title} | {row['policy']} | {' | '.join(cells)} | {same:.1%} |")
    return "\n".join(lines)
