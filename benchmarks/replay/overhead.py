"""What the server itself costs: the model is scripted and answers at once; a small and a 10,000-line document.

In each, once where the text parses as far as it is typed, and once inside a bracket that is still open: there the
filters have more to look at.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.replay.connection import Connection
from benchmarks.replay.editor import Ask, TraceEditor
from benchmarks.replay.trace import Step, Trace
from model_runtime.evaluation.scoring import percentile

SCRIPTED_SERVER = [sys.executable, "-m", "tests.support.fake_server"]
SIZES = (100, 10_000)
PLACES = {"": ("\n    result = print", "x"), "_broken": ("\n    result = [print", "y")}
"""Name -> what is typed first and what is typed between the requests."""
_ANSWERS = [{"text": "(value)", "after": "x"}, {"text": "(value)]", "after": "y"}]
# The pause that the server makes on purpose before it bothers the model is not overhead.
SETTINGS = {"completion": {"debounceMs": 0, "debounceMaxMs": 0}}

Session = Callable[[list[str], dict[str, Any]], AbstractContextManager[Connection]]


def measure_overhead(rounds: int, session: Session) -> dict[str, Any]:
    """Type and ask in the middle of a large file; ms from the request to the answer, with the keystroke before it."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.json"
        script.write_text(json.dumps({"completions": _ANSWERS}), "utf-8")
        with session([*SCRIPTED_SERVER, str(script)], SETTINGS) as connection:
            for number, (lines, place) in enumerate(product(SIZES, PLACES)):
                trace = _trace(lines, *PLACES[place], asks=100 * max(1, rounds))
                asks = TraceEditor(connection, trace, number).replay()
                figures[f"inline_completion_{lines}_lines{place}"] = _figures(asks)
    return figures


def _figures(asks: list[Ask]) -> dict[str, Any]:
    # The first answer pays for the first parse of the whole file; the others show the price of a keystroke.
    values = [ask.ms for ask in asks[1:]]
    return {
        "p50_ms": round(percentile(values, 0.5), 2),
        "p95_ms": round(percentile(values, 0.95), 2),
        "first_ms": round(asks[0].ms, 2),
        "requests": len(asks),
        "shown": sum(bool(ask.shown) for ask in asks),
    }


def _trace(lines: int, begun: str, each: str, asks: int) -> Trace:
    function = 'def function_{0}(value):\n    """Say {0}."""\n    total = value + {0}\n    return total\n\n'
    text = "".join(function.format(number) for number in range(lines // 5))
    caret = text.index("\n    return total", len(text) // 2)
    steps = [Step("type", begun + each)]
    for _ in range(asks):
        steps += [Step("ask"), Step("type", each)]
    return Trace("overhead", "python", "large.py", "a keystroke and a request", text, caret, tuple(steps))
