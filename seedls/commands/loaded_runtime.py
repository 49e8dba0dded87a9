"""Loading the runtime for the length of one command, with a progress bar. Knows no command and no request."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from seedls.commands.options import runtime_config
from seedls.commands.progress import progress_bar


@contextmanager
def loaded_runtime(api: Any, args: argparse.Namespace) -> Iterator[Any]:
    """The Runtime that the flags ask for, closed on the way out. Raises the runtime's own errors."""
    config = runtime_config(api, args)
    with progress_bar(f"loading {config.model}") as report:
        runtime = api.Runtime.load(config, progress=report)
    try:
        yield runtime
    finally:
        runtime.close()


def final_step(steps: Iterable[Any]) -> Any | None:
    """The last step of an edit, which is the answer; the earlier ones are for watching. None if there was none."""
    last = deque(steps, maxlen=1)
    return last.pop() if last else None
