"""The `bench` command line: measures speed, writes one JSON file, prints tables, fails on a regression."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_runtime.config import runtime_config_from_environment
from model_runtime.errors import RuntimeFailure
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.solvers import DecodeOptions, Decoder, RuntimeSolver, Solver
from model_runtime.evaluation.speed.cancel import measure_cancel
from model_runtime.evaluation.speed.decode import measure_decoding, settings_for
from model_runtime.evaluation.speed.latency import DEFAULT_BLOCKS, measure_latency_curve
from model_runtime.evaluation.speed.lines import measure_lines
from model_runtime.evaluation.speed.peers import PEERS, is_present, make_peer
from model_runtime.evaluation.speed.prefill import measure_prefill
from model_runtime.evaluation.speed.report import find_regressions, format_report
from model_runtime.evaluation.speed.resources import measure_load
from model_runtime.evaluation.speed.workload import WORKLOAD_VERSION, completion_cases, edit_cases

SUBJECTS = ("decode", "edit", "latency", "prefill", "cancel", "load", "peers")
EXAMPLES = """examples:
  %(prog)s                                     everything
  %(prog)s --only decode,latency --rounds 5
  %(prog)s --only peers --gguf model.gguf --threads 2
  %(prog)s --out now.json --baseline before.json --tolerance 0.25
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0 when done, 1 when it could not be or a figure got worse than the baseline allows, 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        baseline = _read_baseline(arguments.baseline)
        report = run_bench(arguments)
    except RuntimeFailure as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(json.dumps(report, indent=2) if arguments.json else format_report(report))
    worse = find_regressions(baseline, report, arguments.tolerance) if baseline else []
    for regression in worse:
        print(f"bench: slower than the baseline: {regression}", file=sys.stderr)
    return 1 if worse else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seedls bench",
        description="Measure decoding, forward latency, load, memory and peers on this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="LIST", default=",".join(SUBJECTS), help=f"of {', '.join(SUBJECTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of everything (default 3)")
    parser.add_argument(
        "--blocks", default=",".join(map(str, DEFAULT_BLOCKS)), help="block sizes (default %(default)s)"
    )
    parser.add_argument("--steps", default="", help="step counts to try beside the runtime's own, e.g. 1,2,4")
    parser.add_argument("--model", help="installed model or checkpoint path")
    parser.add_argument("--gguf", type=Path, help="weights for the llama-cpp peer")
    parser.add_argument("--checkpoint", help="checkpoint folder for the transformers peer")
    parser.add_argument("--threads", type=int, help="CPU threads, for the runtime and the peers alike")
    parser.add_argument("--out", type=Path, help="write the report as JSON")
    parser.add_argument("--baseline", type=Path, help="an earlier report; exit 1 when a figure got worse")
    parser.add_argument("--tolerance", type=float, default=0.25, help="how much worse is too much (default 0.25)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def run_bench(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything asked for, as one JSON-ready report."""
    subjects = _choose_subjects(arguments.only)
    blocks, steps = _numbers(arguments.blocks, "--blocks"), _numbers(arguments.steps, "--steps")
    report: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "workload": WORKLOAD_VERSION,
        "rounds": arguments.rounds,
    }
    if "load" in subjects:
        report["load"] = measure_load(arguments.model, arguments.rounds)
    if subjects == {"load"}:
        return report
    runtime, report["model"] = _load_runtime(arguments)
    settings = settings_for(blocks, steps)
    if "decode" in subjects:
        report["decode"] = measure_decoding(runtime, completion_cases(), settings, arguments.rounds)
    if "edit" in subjects:
        # Step counts and block sizes are measured on completions; edits compare the policies.
        report["edit"] = measure_decoding(runtime, edit_cases(), settings_for((), ()), arguments.rounds)
    if "latency" in subjects:
        case = next(case for case in completion_cases() if case.max_lines is None)
        report["latency"] = measure_latency_curve(runtime, case, blocks or DEFAULT_BLOCKS, arguments.rounds)
    if "prefill" in subjects:
        report["prefill"] = measure_prefill(runtime, completion_cases()[0], rounds=arguments.rounds)
    if "cancel" in subjects:
        cases = [case for case in completion_cases() if case.max_lines is None]
        report["cancel"] = measure_cancel(runtime, cases, arguments.rounds)
    if "peers" in subjects:
        report["peers"] = measure_peers(runtime, arguments)
    return report


def measure_peers(runtime: Decoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Single-line holes: ms to the line and tokens/s of ours and of every peer present, and ratios."""
    cases = [case for case in completion_cases() if case.max_lines == 1]
    solvers: dict[str, Solver] = {"runtime": RuntimeSolver(runtime, DecodeOptions())}
    notes: dict[str, dict[str, Any]] = {"runtime": {}}
    for peer in PEERS:
        if not is_present(peer):
            notes[peer] = {"absent": f"package {PEERS[peer]!r} is not installed"}
            continue
        try:
            solvers[peer], notes[peer] = make_peer(peer, arguments.gguf, arguments.checkpoint, arguments.threads)
        except EvaluationError as error:
            notes[peer] = {"absent": str(error)}
    figures = measure_lines(solvers, cases, arguments.rounds)
    return {name: {**figures.get(name, {}), **about} for name, about in notes.items()}


def _load_runtime(arguments: argparse.Namespace) -> tuple[Decoder, dict[str, Any]]:
    from model_runtime.runtime import Runtime

    config = runtime_config_from_environment()
    config = replace(config, model=arguments.model or config.model, threads=arguments.threads or config.threads)
    runtime = Runtime.load(config)
    runtime.warm_up()
    return runtime, runtime.info.provenance()


def _choose_subjects(text: str) -> set[str]:
    chosen = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := chosen - set(SUBJECTS):
        raise EvaluationError(f"unknown subject {sorted(unknown)[0]!r} (known: {', '.join(SUBJECTS)})")
    return chosen


def _numbers(text: str, flag: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise EvaluationError(f"{flag} takes whole numbers separated by commas, got {text!r}") from None
    if any(number < 1 for number in numbers):
        raise EvaluationError(f"{flag} takes positive numbers, got {text!r}")
    return numbers


def _read_baseline(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"baseline {path}: {error}") from None
    if not isinstance(loaded, dict) or "workload" not in loaded:
        raise EvaluationError(f"baseline {path} is not a bench report")
    return loaded


if __name__ == "__main__":
    sys.exit(main())
