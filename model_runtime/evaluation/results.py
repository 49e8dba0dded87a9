"""One run on disk: `run.json` (what was asked), `samples.jsonl` (every case, as it comes), `summary.json`.

A run is resumed only under the same settings. Knows files and aggregates; does not know solvers or the runtime.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from model_runtime.evaluation.errors import DataError, EvaluationError
from model_runtime.evaluation.readers import read_rows
from model_runtime.evaluation.scoring import percentile, wilson_interval

MAY_CHANGE = {"started", "limit"}
"""Settings that a resumed run may change: a larger limit only adds cases."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered case."""

    case_id: str
    language: str
    outcome: str
    """`passed`, `failed`, `timeout`, `memory`, `output`, `processes`, `error`; without tests `exact` or `different`."""
    passed: bool
    answer: str
    tokens: int
    forwards: int
    ms: float
    denoise_ms: float
    finish_reason: str
    exact: bool | None
    """Equal to the reference up to surrounding white space; None without a reference."""
    similarity: float | None
    detail: str = ""
    """Tail of what the tests printed, or the runtime's error."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder of one run."""

    path: Path

    @property
    def samples_path(self) -> Path:
        """JSON lines, one a case."""
        return self.path / "samples.jsonl"

    def begin(self, settings: dict[str, Any], *, resume: bool) -> list[Sample]:
        """Create the folder, or reopen it; returns the samples already there.

        Raises EvaluationError when results are there and `resume` is off, or when they were made under other settings.
        """
        header = self.path / "run.json"
        if header.exists():
            if not resume:
                raise EvaluationError(f"{self.path} already holds a run: pass --resume, or another --out")
            before = json.loads(header.read_text("utf-8"))
            keys = (settings.keys() | before.keys()) - MAY_CHANGE
            changed = sorted(key for key in keys if settings.get(key) != before.get(key))
            if changed:
                described = ", ".join(f"{key} {before.get(key)!r} -> {settings.get(key)!r}" for key in changed)
                raise EvaluationError(f"{self.path} was made with other settings: {described}")
            _write_json(header, {**settings, "started": before.get("started")})
            return self.samples() if self.samples_path.exists() else []
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(header, settings)
        return []

    def append(self, sample: Sample) -> None:
        """Add one line; a killed run loses at most the case it was at."""
        line = json.dumps(asdict(sample), ensure_ascii=False)
        with self.samples_path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(line + "\n")

    def samples(self) -> list[Sample]:
        """Everything recorded so far. A half-written last line (a killed run) is cut off; else DataError."""
        _drop_torn_line(self.samples_path)
        names = {item.name for item in fields(Sample)}
        samples = []
        for row in read_rows(self.samples_path):
            try:
                samples.append(Sample(**{key: value for key, value in row.values.items() if key in names}))
            except TypeError as error:
                raise row.error(str(error)) from None
        return samples

    def settings(self) -> dict[str, Any]:
        """What the run was asked for; raises DataError when it cannot be read."""
        try:
            loaded = json.loads((self.path / "run.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: not a run folder: {error}") from None
        if not isinstance(loaded, dict):
            raise DataError(f"{self.path}/run.json: expected an object")
        return loaded

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json."""
        _write_json(self.path / "summary.json", summary)


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """Counts, pass@1 with its 95 % Wilson interval, text scores and costs of a list of samples."""
    total, passed = len(samples), sum(sample.passed for sample in samples)
    low, high = wilson_interval(passed, total)
    forwards, tokens = sum(s.forwards for s in samples), sum(s.tokens for s in samples)
    milliseconds = [s.ms for s in samples]
    seconds = sum(milliseconds) / 1000
    similarities = [s.similarity for s in samples if s.similarity is not None]
    exacts = [s.exact for s in samples if s.exact is not None]
    return {
        "cases": total,
        "passed": passed,
        "pass_at_1": round(passed / total, 4) if total else None,
        "interval_95": [round(low, 4), round(high, 4)],
        "exact_match": round(sum(exacts) / len(exacts), 4) if exacts else None,
        "edit_similarity": round(sum(similarities) / len(similarities), 4) if similarities else None,
        "tokens": tokens,
        "forwards": forwards,
        "tokens_per_forward": round(tokens / forwards, 3) if forwards else None,
        "tokens_per_second": round(tokens / seconds, 2) if seconds else None,
        "ms_median": round(percentile(milliseconds, 0.5), 1),
        "ms_p95": round(percentile(milliseconds, 0.95), 1),
        "outcomes": dict(Counter(s.outcome for s in samples).most_common()),
        "finish_reasons": dict(Counter(s.finish_reason for s in samples).most_common()),
    }


def summarise_by_language(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """One summary a language, when there are several."""
    languages = sorted({sample.language for sample in samples})
    if len(languages) < 2:
        return {}
    return {name: summarise([s for s in samples if s.language == name]) for name in languages}


def _drop_torn_line(path: Path) -> None:
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def _write_json(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(path)
