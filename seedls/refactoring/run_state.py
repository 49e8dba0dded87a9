"""One run: its folder, its journal, and what is known of every file. Owns the meaning of the journal's events.

Events, in the order a file meets them; losing any one makes a step be repeated that finds itself already done:
`plan` (first line), `baseline` (the check passes untouched), `proposed` (the new content is stored), `written`
(the file was replaced), `check_failed` (it is to be put back), `done` (nothing more happens to this file).
It knows neither the model nor how files are replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from seedls.commands.failure import CommandFailed
from seedls.edit_checks import Scope
from seedls.refactoring.journal import Event, Journal, JournalContent, read_journal
from seedls.refactoring.storage import ContentStore

FORMAT = 1
Status = Literal["changed", "unchanged", "refused", "rolled_back", "conflict"]


@dataclass(frozen=True, slots=True)
class Job:
    """What decides the result; two runs of the same job may continue each other."""

    instruction: str
    roots: tuple[str, ...]
    only: tuple[str, ...]
    max_lines: int
    scope: Scope
    model: str
    policy: str
    max_tokens: int
    temperature: float
    seed: int

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that differ between jobs."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class RefusedUnit:
    """An edit that was not kept; `line` counts from 1 in the original file."""

    name: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Work:
    """What the model did in one file."""

    num_changed: int = 0
    num_unchanged: int = 0
    refused: tuple[RefusedUnit, ...] = ()
    tokens: int = 0
    forwards: int = 0
    ms: float = 0.0


@dataclass(slots=True)
class FileState:
    """How far one file has come."""

    path: Path
    digest: str
    """Of its content when the run began; "" if it could not be read then."""
    work: Work = field(default_factory=Work)
    proposed: str | None = None
    """Digest of the content that is to replace it."""
    is_written: bool = False
    check_failure: str | None = None
    status: Status | None = None
    reason: str = ""


class Run:
    """An open run. Methods that change a state write the journal first; they may be called from two threads."""

    def __init__(self, folder: Path, content: JournalContent) -> None:
        """Continue what `content` tells; raises CommandFailed when it does not begin with a plan of this format."""
        self.folder = folder
        self.store = ContentStore(folder / "contents")
        self.num_damaged = content.num_damaged
        self.passed_checks: set[str] = set()
        self.states: dict[str, FileState] = {}
        plan = next((event for event in content.events if event.get("event") == "plan"), None)
        if plan is None or plan.get("format") != FORMAT:
            raise CommandFailed(f"the journal of {folder} has no readable plan; start without --resume")
        for path, digest in plan["files"]:
            self.states[path] = FileState(Path(path), digest)
        for event in content.events:
            self._apply(event)
        self._journal = Journal(folder / "journal.jsonl")

    @property
    def run_id(self) -> str:
        """The folder's name, unique among runs."""
        return self.folder.name

    @property
    def is_complete(self) -> bool:
        """True when nothing more can happen to any file."""
        return all(state.status is not None for state in self.states.values())

    def record_baseline(self, check: str) -> None:
        """The check passed before anything was changed."""
        self._record({"event": "baseline", "check": check})

    def record_proposed(self, state: FileState, digest: str, work: Work) -> None:
        """The model is finished with the file, and its new content is stored."""
        self._record({"event": "proposed", "path": str(state.path), "digest": digest, "work": asdict(work)})

    def record_written(self, state: FileState) -> None:
        """The file holds the proposed content."""
        self._record({"event": "written", "path": str(state.path)})

    def record_check_failed(self, state: FileState, reason: str) -> None:
        """The file is going to be put back."""
        self._record({"event": "check_failed", "path": str(state.path), "reason": reason})

    def record_done(self, state: FileState, status: Status, reason: str = "", work: Work | None = None) -> None:
        """Nothing more happens to the file. `work` where there was no proposal."""
        event: Event = {"event": "done", "path": str(state.path), "status": status, "reason": reason}
        self._record(event if work is None else event | {"work": asdict(work)})

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        if event["event"] == "baseline":
            self.passed_checks.add(event["check"])
            return
        state = self.states.get(event.get("path", ""))
        if state is None:
            return
        if "work" in event:
            state.work = _work(event["work"])
        match event["event"]:
            case "proposed":
                state.proposed = event["digest"]
            case "written":
                state.is_written = True
            case "check_failed":
                state.check_failure = event["reason"]
            case "done":
                state.status, state.reason = event["status"], event["reason"]


def start_run(home: Path, job: Job, files: Sequence[tuple[Path, str]]) -> Run:
    """A new run over files and their digests, its plan on disk when this returns."""
    number = len(_folders(home, job)) + 1
    while (folder := home / f"{job.key}-{number:03}").exists():
        number += 1
    folder.mkdir(mode=0o700, parents=True)
    plan: Event = {
        "event": "plan",
        "format": FORMAT,
        "job": asdict(job),
        "files": [[str(path), digest] for path, digest in files],
    }
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(plan)
    return Run(folder, JournalContent((plan,), 0))


def latest_run(home: Path, job: Job) -> Run | None:
    """The newest run of this job, or None. Raises CommandFailed when its journal cannot be used."""
    for folder in reversed(_folders(home, job)):
        try:
            content = read_journal(folder / "journal.jsonl")
        except OSError as error:
            raise CommandFailed(f"cannot read the journal in {folder}: {error.strerror or error}") from None
        if content.events or (folder / "contents").exists():
            return Run(folder, content)
        # Stopped before its plan was on disk: it has touched nothing.
    return None


def _folders(home: Path, job: Job) -> list[Path]:
    return sorted(path for path in home.glob(f"{job.key}-*") if path.is_dir())


def _work(raw: dict[str, Any]) -> Work:
    return Work(**{**raw, "refused": tuple(RefusedUnit(**unit) for unit in raw["refused"])})
