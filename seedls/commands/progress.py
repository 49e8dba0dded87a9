"""Progress bars on stderr, silent when stderr is not a terminal. Knows nothing about what progresses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[str, float], None]
"""report(message, fraction): what is being done, and how much of it is done, 0..1."""


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """Show one bar while the block runs; it disappears afterwards so that only results stay on screen."""
    if not sys.stderr.isatty():
        yield lambda _message, _fraction: None
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


def note(message: str) -> None:
    """One line for the person at the terminal, never mixed with results."""
    print(message, file=sys.stderr, flush=True)
