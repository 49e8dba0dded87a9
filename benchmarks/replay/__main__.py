"""`python -m benchmarks.replay [TRACES]`: replay keystroke traces through the real server, print rates and latencies.

Options: see --help. Exit codes: 0 done, 1 with one line on standard error, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.replay.connection import Connection, ServerLost
from benchmarks.replay.editor import Ask, TraceEditor
from benchmarks.replay.overhead import SCRIPTED_SERVER, measure_overhead
from benchmarks.replay.report import format_summary, misses, summarise
from benchmarks.replay.trace import Trace, TraceError, read_trace
from model_runtime.evaluation.progress import ProgressBar

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT / "benchmarks" / "traces"
CAPABILITIES = {
    "general": {"positionEncodings": ["utf-16"]},
    "workspace": {"configuration": True, "workspaceFolders": True},
    "textDocument": {
        "synchronization": {"dynamicRegistration": True},
        "inlineCompletion": {"dynamicRegistration": True},
    },
}


def main(argv: Sequence[str] | None = None) -> int:
    """See the module docstring."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.overhead:
            report = {"overhead": measure_overhead(arguments.rounds, run_session)}
        else:
            report = _replay(arguments)
    except (TraceError, ServerLost, OSError) as error:
        print(f"replay: {error}", file=sys.stderr)
        return 1
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _print(report, arguments)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replay",
        description="Replay keystroke traces through the server over standard streams.",
    )
    parser.add_argument("traces", nargs="*", type=Path, help="trace files or folders (default: benchmarks/traces)")
    parser.add_argument("--rounds", type=int, default=1, help="replay everything this often (default 1)")
    parser.add_argument("--settings", default="{}", help="seedls settings as JSON, sent with initialize")
    parser.add_argument("--overhead", action="store_true", help="the server's own time: scripted model, 10,000 lines")
    parser.add_argument("--ready-seconds", type=float, default=300.0, help="how long the model may take to load")
    parser.add_argument("--log", type=Path, help="write the server's log here")
    parser.add_argument("--misses", action="store_true", help="also print what went against the traces")
    parser.add_argument("--out", type=Path, help="write the report as JSON")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def load_traces(paths: Sequence[Path]) -> list[Trace]:
    """Traces of files and folders; raises TraceError or OSError."""
    files: list[Path] = []
    for path in paths or [TRACES]:
        files += sorted(path.glob("*.trace")) if path.is_dir() else [path]
    if not files:
        raise TraceError(f"no *.trace files in {', '.join(map(str, paths))}")
    return [read_trace(file) for file in files]


@contextmanager
def run_session(
    command: Sequence[str], settings: dict[str, Any], ready_seconds: float = 300.0, log: Path | None = None
) -> Iterator[Connection]:
    """A started server whose model is ready; raises ServerLost when it is not in time, or cannot be loaded."""
    with (log or Path("/dev/null")).open("ab") as stream:
        connection = Connection(command, ROOT, stream)
        try:
            params = {
                "processId": None,
                "rootUri": None,
                "capabilities": CAPABILITIES,
                "initializationOptions": settings,
            }
            connection.request("initialize", params)
            connection.notify("initialized", {})
            _wait_until_ready(connection, ready_seconds)
            yield connection
        finally:
            connection.close()


def _wait_until_ready(connection: Connection, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        status = connection.request("seedls/status", None)
        if status["state"] == "ready":
            return
        if status["state"] == "failed":
            raise ServerLost(f"the model is not usable: {status['message']}")
        if time.monotonic() > deadline:
            raise ServerLost(f"the model was not ready after {seconds:.0f} s ({status['state']})")
        time.sleep(0.1)


def _replay(arguments: argparse.Namespace) -> dict[str, Any]:
    traces = load_traces(arguments.traces)
    try:
        # A benchmark's acceptances are nobody's.
        settings = {"keptRate": {"enabled": False}, **json.loads(arguments.settings)}
    except ValueError as error:
        raise TraceError(f"--settings is not JSON: {error}") from None
    asks: list[Ask] = []
    bar = ProgressBar(len(traces) * arguments.rounds, "replay")
    started = time.monotonic()
    command = [sys.executable, "-m", "seedls", "serve", "--stdio"]
    with run_session(command, settings, arguments.ready_seconds, arguments.log) as connection:
        loaded = time.monotonic() - started
        for number in range(arguments.rounds):
            for index, trace in enumerate(traces):
                asks += TraceEditor(connection, trace, number * len(traces) + index).replay()
                bar.advance(trace.name)
        status = connection.request("seedls/status", None)
    bar.close()
    return {
        "model": status["model"],
        "ready_s": round(loaded, 1),
        "replay_s": round(time.monotonic() - started - loaded, 1),
        "summary": summarise(asks),
        "asks": [asdict(ask) for ask in asks],
    }


def _print(report: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    if "overhead" in report:
        for name, row in report["overhead"].items():
            print(f"{name}: {row}")
        return
    print(f"{report['model']}: ready after {report['ready_s']} s, replayed in {report['replay_s']} s")
    print(format_summary(report["summary"]))
    if arguments.misses:
        for ask in misses([Ask(**row) for row in report["asks"]]):
            print(f"  {ask.trace} after {ask.after}: wanted {ask.wanted!r}, shown {ask.shown!r}")


__all__ = ["SCRIPTED_SERVER", "load_traces", "main", "run_session"]

if __name__ == "__main__":
    sys.exit(main())
