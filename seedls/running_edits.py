"""Edits that form while the user watches: what is known of each between the client's requests.

Owns the state; `features/edit_run.py` moves it on. It knows neither the wire nor the checks.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from seedls.documents import DocumentSnapshot
from seedls.engine import EditRequest, EditStep
from seedls.line_endings import NormalisedText
from seedls.scheduler import StopSignal
from seedls.text_edits import Replacement

RunState = Literal["running", "done", "stopped", "stale", "failed", "cancelled", "accepted"]


@dataclass(slots=True)
class RunningEdit:
    """One edit run. The event loop owns it; the worker only moves `steps` on and sets `newest`."""

    snapshot: DocumentSnapshot
    request: EditRequest
    normal: NormalisedText
    signal: StopSignal
    title: str
    steps: Iterator[EditStep] | None = None
    newest: EditStep | None = None
    shown: list[Replacement] = field(default_factory=list)
    """Of the snapshot's text, from the newest step that passed the checks."""
    state: RunState = "running"
    reason: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    on_change: Callable[[], None] = lambda: None
    """Called when state or fraction may have changed."""
    _checked_text: str | None = None
    _next_check: float = 0.0

    def advance(self, begin: Callable[[], Iterator[EditStep]], seconds: float) -> None:
        """Take steps for about that long, at least one. On the worker."""
        if self.steps is None:
            self.steps = begin()
        limit = time.monotonic() + seconds
        for step in self.steps:
            self.newest = step
            if step.is_final or time.monotonic() >= limit:
                return

    def text_to_check(self) -> str | None:
        """The newest text if it has to be looked at now: long buffers are not parsed at every step."""
        step = self.newest
        if step is None or step.text == self._checked_text:
            return None
        return step.text if step.is_final or time.monotonic() >= self._next_check else None

    def note_check(self, text: str, seconds: float) -> None:
        """Checks may take a fifth of the time."""
        self._checked_text = text
        self._next_check = time.monotonic() + 4 * seconds

    @property
    def fraction(self) -> float:
        """Of the range that is final, 0-1."""
        step = self.newest
        if step is None or step.is_final:
            return 0.0 if step is None else 1.0
        end = len(self.request.text) if self.request.end is None else self.request.end
        tail = len(self.request.text) - end
        length = len(step.text) - tail - self.request.start
        return min(1.0, max(0.0, (step.done_offset - self.request.start) / max(1, length)))


@dataclass(slots=True)
class RunningEdits:
    """At most one run of a document."""

    _by_id: dict[str, RunningEdit] = field(default_factory=dict)

    def add(self, run: RunningEdit) -> None:
        """Forget the document's run before."""
        for old in [each for each in self._by_id.values() if each.snapshot.uri == run.snapshot.uri]:
            self.remove(old)
        self._by_id[run.id] = run

    def get(self, run_id: str) -> RunningEdit | None:
        """None when it was accepted, cancelled or replaced."""
        return self._by_id.get(run_id)

    def remove(self, run: RunningEdit) -> None:
        """It cannot be asked for any more."""
        self._by_id.pop(run.id, None)
