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
from model_runtime.evaluation.cases import Answer, Case
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.solvers import DecodeOptions, Decoder, RuntimeSolver, Solver
from model_runtime.evaluation.speed.cancel import measure_cancel
from model_runtime.evaluation.speed.decode import measure_decoding, settings_for
from model_runtime.evaluation.speed.latency import DEFAULT_BLOCKS, measure_latency_curve
from model_runtime.evaluation.speed.peers import PEERS, is_present, make_peer
from model_runtime.evaluation.speed.report import find_regressions, format_report
from model_runtime.evaluation.speed.resources import measure_load
from model_runtime.evaluation.speed.timing import Spread
from model_runtime.evaluation.speed.workload import WORKLOAD_VERSION, completion_cases, edit_cases

SUBJECTS = ("decode", "edit", "latency", "cancel", "load", "peers")
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
    if "cancel" in subjects:
        cases = [case for case in completion_cases() if case.max_lines is None]
        report["cancel"] = measure_cancel(runtime, cases, arguments.rounds)
    if "peers" in subjects:
        report["peers"] = measure_peers(runtime, arguments)
    return report


def measure_peers(runtime: Decoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Single-line holes: ms to the line cold (new prompt) and warm (same prompt again), tokens/s, and ratios."""
    cases = [case for case in completion_cases() if case.max_lines == 1]
    figures: dict[str, Any] = {"runtime": _time_lines(RuntimeSolver(runtime, DecodeOptions()), cases, arguments.rounds)}
    for peer in PEERS:
        if not is_present(peer):
            figures[peer] = {"absent": f"package {PEERS[peer]!r} is not installed"}
            continue
        try:
            solver, about = make_peer(peer, arguments.gguf, arguments.checkpoint, arguments.threads)
        except EvaluationError as error:
            figures[peer] = {"absent": str(error)}
            continue
        figures[peer] = {**_time_lines(solver, cases, arguments.rounds), **about}
    ours = figures["runtime"]
    for name, theirs in figures.items():
        if name != "runtime" and "absent" not in theirs:
            theirs["runtime_is_faster_cold"] = _ratio(theirs["cold_ms"], ours["cold_ms"])
            theirs["runtime_is_faster_warm"] = _ratio(theirs["warm_ms"], ours["warm_ms"])
    return figures


def _time_lines(solver: Solver, cases: Sequence[Case], rounds: int) -> dict[str, Any]:
    cold: list[Answer] = []
    warm: list[Answer] = []
    for index in range(rounds):
        for case in cases:
            # A first line that no cache has seen makes the whole prompt new.
            renamed = replace(case, prefix=f"# run {index}: {case.case_id}\n{case.prefix}")
            cold.append(solver.solve(renamed))
            warm.append(solver.solve(renamed))
    exact = [answer.text.strip() == case.expected for answer, case in zip(warm, [*cases] * rounds, strict=True)]
    seconds = sum(answer.denoise_ms or answer.ms for answer in warm) / 1000
    return {
        "cold_ms": round(Spread.of([answer.ms for answer in cold]).median, 1),
        "warm_ms": round(Spread.of([answer.ms for answer in warm]).median, 1),
        "tokens_per_second": round(sum(answer.tokens for answer in warm) / seconds, 2) if seconds else None,
        "tokens_per_line": round(sum(answer.tokens for answer in warm) / len(warm), 2),
        "exact": round(sum(exact) / len(exact), 3),
    }


def _load_runtime(arguments: argparse.Namespace) -> tuple[Decoder, dict[str, Any]]:
    from model_runtime.runtime import Runtime

    config = runtime_config_from_environment()
    config = replace(config, model=arguments.model or config.model, threads=arguments.threads or config.threads)
    runtime = Runtime.load(config)
    runtime.warm_up()
    info = runtime.info
    about = {"name": info.name, "digest": info.digest, "device": info.device, "precision": info.precision}
    return runtime, about


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


def _ratio(theirs: float, ours: float) -> float | None:
    return round(theirs / ours, 3) if ours else None


if __name__ == "__main__":
    sys.exit(main())
