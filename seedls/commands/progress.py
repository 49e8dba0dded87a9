"""Progress on stderr: a bar on a terminal, else a line now and then. Knows nothing about what progresses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, float], None]
"""report(message, fraction): what is being done, and how much of it is done, 0..1."""

LINE_EVERY_S = 30.0
"""Into a log: short work stays silent, and hours of it can be followed."""


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Show one bar while the block runs; it disappears afterwards so that only results stay on screen."""
    if not sys.stderr.isatty():
        yield _lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)

        def report(message: str, fraction: float) -> None:
            bar.update(task, description=message or title, completed=min(max(fraction, 0.0), 1.0))

        yield report


def _lines(title: str) -> Report:
    said = time.monotonic()

    def report(message: str, fraction: float) -> None:
        nonlocal said
        if time.monotonic() - said >= LINE_EVERY_S:
            said = time.monotonic()
            note(f"{title}: {min(max(fraction, 0.0), 1.0):.0%} {message}".rstrip())

    return report


def note(message: str) -> None:
    """One line for the person at the terminal, never mixed with results."""
    print(message, file=sys.stderr, flush=True)
