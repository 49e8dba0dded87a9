"""The results of a run: one JSON file that grows stage by stage, and the same as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Results:
    """Stage -> result, on disk after every stage, so that a run that is cut off has lost one stage at most."""

    def __init__(self, folder: Path) -> None:
        """Goes on from what an earlier run left in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._json, self._markdown = folder / "results.json", folder / "results.md"
        self.stages: dict[str, Any] = {}
        if self._json.is_file():
            self.stages = json.loads(self._json.read_text(encoding="utf-8"))

    def add(self, stage: str, result: Any) -> None:
        """Keep a stage's result, also a part of one: the last call for a stage counts."""
        self.stages[stage] = result
        for path, text in ((self._json, json.dumps(self.stages, indent=1) + "\n"), (self._markdown, self.markdown())):
            partial = path.with_suffix(path.suffix + ".part")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)

    def markdown(self) -> str:
        """Every stage as a section: tables where the result is a list of lines, else facts."""
        return "\n\n".join(f"## {stage}\n\n{_section(result)}" for stage, result in self.stages.items()) + "\n"


def _section(result: Any) -> str:
    if isinstance(result, list) and result and all(isinstance(row, dict) for row in result):
        return _table(result)
    if isinstance(result, dict) and result and all(isinstance(value, dict) for value in result.values()):
        return _table([{"": name, **value} for name, value in result.items()])
    if isinstance(result, dict):
        return "\n".join(f"- {name}: {_cell(value)}" for name, value in result.items())
    return _cell(result)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value).replace("|", "/").replace("\n", " ")
