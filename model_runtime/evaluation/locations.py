"""Where evaluation data and language tools are. The only place of this package that reads environment variables.

SEEDLS_EVAL_DATA    folder of benchmark data (one subfolder a benchmark), used where `--data` is not given
SEEDLS_EVAL_TOOLS   folder with extra language tools: `bin/`, and `node_modules/` for JavaScript and TypeScript
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_runtime.evaluation.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Locations:
    """Resolved folders; None where the user gave none."""

    data: Path | None
    tools: Path | None


def locations_from_environment() -> Locations:
    """Read SEEDLS_EVAL_DATA and SEEDLS_EVAL_TOOLS."""

    def folder(name: str) -> Path | None:
        value = os.environ.get(name)
        return Path(value).expanduser() if value else None

    return Locations(data=folder("SEEDLS_EVAL_DATA"), tools=folder("SEEDLS_EVAL_TOOLS"))


def find_data(data: Path | None, candidates: Sequence[str]) -> Path:
    """The first existing candidate.

    `data` may be the root of all data, the benchmark's own folder, or the very file.
    Raises EvaluationError naming what was looked for.
    """
    if data is None:
        raise EvaluationError("no evaluation data: pass --data PATH or set SEEDLS_EVAL_DATA")
    if data.is_file():
        return data
    for candidate in candidates:
        for path in (data / candidate, data / Path(candidate).name):
            if path.exists():
                return path
    raise EvaluationError(f"{data}: found none of {', '.join(candidates)}")
