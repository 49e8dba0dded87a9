"""What came of a run: counts, reasons, cost; as text for people, as one JSON object for programs, as diffs.

Reads a run's state and changes nothing. It does not know how the run was carried out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedls.commands.edit import unified_diff
from seedls.refactoring.files import Skipped
from seedls.refactoring.run_state import FileState, Run

MAX_LISTED = 40
"""Lines a list of reasons gets on a terminal; `--json` has all of them."""

_TITLES = {
    "changed": "changed",
    "proposed": "would change",
    "unchanged": "unchanged",
    "refused": "refused",
    "rolled_back": "rolled back",
    "conflict": "changed by others",
    "open": "not finished",
}
_FAILURES = frozenset({"rolled_back", "conflict", "open"})


@dataclass(frozen=True, slots=True)
class Report:
    """A run as it is now; `is_writing` decides whether a proposal is an end or a beginning."""

    run: Run
    skipped: Sequence[Skipped]
    is_writing: bool
    seconds: float
    """Wall-clock seconds of this call, loading included."""

    @property
    def exit_code(self) -> int:
        """1 when a file was rolled back, changed by others, or not finished."""
        return 1 if _FAILURES & {self.status_of(state) for state in self.run.states.values()} else 0

    def status_of(self, state: FileState) -> str:
        """One of the keys of the JSON counts."""
        if state.status is not None:
            return state.status
        return "open" if self.is_writing or state.proposed is None else "proposed"

    def counts(self) -> dict[str, int]:
        """Files by status, every status present."""
        found = Counter(self.status_of(state) for state in self.run.states.values())
        return {status: found[status] for status in _TITLES}

    def as_text(self) -> str:
        """Lines for a terminal: the reasons, then the counts and the cost."""
        states = list(self.run.states.values())
        lines = _shortened(list(self._reasons()))
        counts = ", ".join(f"{count} {_TITLES[status]}" for status, count in self.counts().items() if count)
        left_out = f"; {len(self.skipped)} left out" if self.skipped else ""
        lines.append(f"{len(states)} file{'' if len(states) == 1 else 's'}: {counts or 'nothing to do'}{left_out}")
        changed, unchanged, refused = self._units()
        lines.append(f"units: {changed} edited, {unchanged} left as they are, {refused} refused")
        tokens, forwards, seconds = self._cost()
        ratio = f" ({tokens / forwards:.1f} tokens a forward)" if forwards else ""
        lines.append(
            f"model: {tokens} tokens, {forwards} forwards{ratio}, {seconds:.1f} s; {self.seconds:.1f} s in all"
        )
        if self.run.num_damaged:
            lines.append(f"{self.run.num_damaged} damaged lines of the journal were ignored")
        lines.append(f"journal and originals: {self.run.folder}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Everything, with a diff for every file that changed or would change."""
        tokens, forwards, seconds = self._cost()
        changed, unchanged, refused = self._units()
        return {
            "files": [self._file(state) for state in self.run.states.values()],
            "skipped": [{"path": shown(item.path), "reason": item.reason} for item in self.skipped],
            "counts": self.counts(),
            "units": {"changed": changed, "unchanged": unchanged, "refused": refused},
            "tokens": tokens,
            "forwards": forwards,
            "model_seconds": round(seconds, 3),
            "seconds": round(self.seconds, 3),
            "damaged_journal_lines": self.run.num_damaged,
            "run": str(self.run.folder),
        }

    def diffs(self) -> Iterator[str]:
        """A unified diff of every file that changed or would change, in path order."""
        for state in self.run.states.values():
            if state.proposed is not None and self.status_of(state) in ("changed", "proposed"):
                yield self._diff(state, state.proposed)

    def _file(self, state: FileState) -> dict[str, Any]:
        work = state.work
        status = self.status_of(state)
        entry: dict[str, Any] = {
            "path": shown(state.path),
            "status": status,
            "reason": state.reason,
            "units": {"changed": work.num_changed, "unchanged": work.num_unchanged, "refused": len(work.refused)},
            "refused": [{"unit": unit.name, "line": unit.line, "reason": unit.reason} for unit in work.refused],
            "tokens": work.tokens,
            "forwards": work.forwards,
            "ms": round(work.ms, 3),
        }
        if state.proposed is not None and status in ("changed", "proposed"):
            entry["diff"] = self._diff(state, state.proposed)
        return entry

    def _diff(self, state: FileState, proposed: str) -> str:
        store = self.run.store
        before, after = (store.get(digest).decode("utf-8") for digest in (state.digest, proposed))
        return unified_diff(shown(state.path).lstrip("/"), before, after)

    def _reasons(self) -> Iterator[str]:
        for item in self.skipped:
            yield f"left out     {shown(item.path)}: {item.reason}"
        for state in self.run.states.values():
            for unit in state.work.refused:
                yield f"refused      {shown(state.path)}:{unit.line} {unit.name}: {unit.reason}"
        for state in self.run.states.values():
            status = self.status_of(state)
            if status in _FAILURES or (status == "refused" and not state.work.refused):
                reason = state.reason or "stopped before its end"
                yield f"{_TITLES[status]:<12} {shown(state.path)}: {reason}"

    def _units(self) -> tuple[int, int, int]:
        works = [state.work for state in self.run.states.values()]
        return (
            sum(work.num_changed for work in works),
            sum(work.num_unchanged for work in works),
            sum(len(work.refused) for work in works),
        )

    def _cost(self) -> tuple[int, int, float]:
        works = [state.work for state in self.run.states.values()]
        return (
            sum(work.tokens for work in works),
            sum(work.forwards for work in works),
            sum(work.ms for work in works) / 1000,
        )


def shown(path: Path) -> str:
    """Relative to the working folder when inside it; forward slashes."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def _shortened(lines: list[str]) -> list[str]:
    """The last lines are the gravest; the first ones give way."""
    if len(lines) <= MAX_LISTED:
        return lines
    return [f"({len(lines) - MAX_LISTED} more; --json lists all)", *lines[-MAX_LISTED:]]
