"""One row a case and policy, kept as JSON lines so that a stopped run goes on where it was. Knows no model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from model_runtime.api import Policy

POLICIES: tuple[Policy, ...] = ("ar", "lossless", "fast")


@dataclass(frozen=True, slots=True)
class Row:
    """What one case cost under one policy, and what came of it."""

    case_id: str
    policy: str
    kind: str
    lines: int
    share: float
    """Of the old tokens that the answer changes; inserted ones count too."""
    tokens: int
    forwards: int
    denoise_ms: float
    prefill_ms: float
    finish_reason: str
    is_reference: bool
    """The answer is the reference, formatting aside."""
    adds_syntax_error: bool
    changes_outside: bool
    text: str


def read_rows(path: Path) -> dict[tuple[str, str], Row]:
    """Rows by (case, policy); a torn last line is dropped, and a missing file is empty."""
    rows: dict[tuple[str, str], Row] = {}
    for line in _whole_lines(path):
        row = Row(**json.loads(line))
        rows[row.case_id, row.policy] = row
    return rows


def append_row(path: Path, row: Row) -> None:
    """One line more; the torn end of a killed run is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        if stream.tell() and not path.read_bytes().endswith(b"\n"):
            stream.write(b"\n")
        stream.write(json.dumps(asdict(row)).encode("ascii") + b"\n")


def _whole_lines(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    for line in path.read_text(encoding="ascii").split("\n"):
        if line.startswith("{") and line.endswith("}"):
            yield line
