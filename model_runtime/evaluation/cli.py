"""The `eval` command line: run a benchmark, list benchmarks, compare finished runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_runtime.config import default_home, runtime_config_from_environment
from model_runtime.errors import RuntimeFailure
from model_runtime.evaluation.cases import SAMPLING_RULE, cases_digest, sample
from model_runtime.evaluation.comparison import compare_runs, format_comparison
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.locations import locations_from_environment
from model_runtime.evaluation.registry import BENCHMARKS, benchmark_named
from model_runtime.evaluation.results import RunFolder
from model_runtime.evaluation.runner import run_cases, runnable
from model_runtime.evaluation.solvers import (
    DecodeOptions,
    ReferenceSolver,
    RuntimeSolver,
    Solver,
    UnchangedSolver,
)

EXAMPLES = """examples:
  %(prog)s list
  %(prog)s humaneval --data DATA --policy lossless --limit 50
  %(prog)s infilling-single --policy ar --out runs/single-ar --resume
  %(prog)s infilling-single --solver llama-cpp --gguf model.gguf
  %(prog)s corpus --data path/to/sources --limit 200
  %(prog)s corpus --data path/to/sources --only :block      only the holes of several lines
  %(prog)s compare runs/single-ar runs/single-lossless runs/single-fast
"""


def main(argv: Sequence[str] | None = None) -> int:
    """0 when done, 1 with one line on standard error when it could not be, 2 for wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.name == "list":
            return _list()
        if arguments.name == "compare":
            return _compare(arguments)
        if arguments.runs:
            raise EvaluationError(f"unexpected argument {str(arguments.runs[0])!r} after {arguments.name!r}")
        return _run(arguments)
    except RuntimeFailure as error:
        print(f"eval: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("eval: interrupted; continue with --resume", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="seedls eval",
        description="Score the model on a benchmark. Model-written code runs in a sandbox.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; or list, compare")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="compare: run folders, baseline first")
    parser.add_argument("--data", type=Path, help="data root, benchmark folder or file (default: $SEEDLS_EVAL_DATA)")
    parser.add_argument("--policy", choices=("ar", "lossless", "fast"), default="lossless")
    parser.add_argument("--block", type=int, metavar="B", help="canvas positions denoised together")
    parser.add_argument("--steps", type=int, metavar="S", help="denoising steps allowed per block")
    parser.add_argument("--accept", type=float, metavar="P", help="fast: acceptance threshold, 0-1")
    parser.add_argument("--only", metavar="TEXT", help="only cases whose id contains TEXT; a subset is drawn from them")
    parser.add_argument("--limit", type=int, metavar="N", help=f"a fixed subset: {SAMPLING_RULE}")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the subset (default 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: under $SEEDLS_HOME/evaluation)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--model", help="installed model or checkpoint path (default: the default model)")
    parser.add_argument(
        "--solver",
        choices=("runtime", "reference", "unchanged", "llama-cpp", "transformers"),
        default="runtime",
        help="who answers: this runtime; the reference answers (ceiling); nobody (floor); a peer",
    )
    parser.add_argument("--gguf", type=Path, help="weights of --solver llama-cpp")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def _list() -> int:
    for benchmark in BENCHMARKS.values():
        print(f"{benchmark.name:24}{benchmark.about}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    if len(arguments.runs) < 2:
        raise EvaluationError("compare needs at least two run folders")
    comparison = compare_runs(arguments.runs)
    print(json.dumps(comparison, indent=2) if arguments.json else format_comparison(comparison))
    return 0


def _run(arguments: argparse.Namespace) -> int:
    benchmark = benchmark_named(arguments.name)
    if arguments.limit is not None and arguments.limit < 1:
        raise EvaluationError(f"--limit must be at least 1, got {arguments.limit}")
    everything = benchmark.load(arguments.data or locations_from_environment().data)
    if arguments.solver == "reference":
        everything = [case for case in everything if case.expected is not None]
    wanted = [case for case in everything if (arguments.only or "") in case.case_id]
    if everything and not wanted:
        known = everything[0].case_id
        raise EvaluationError(f"--only {arguments.only!r} is in no id of {benchmark.name}, like {known}")
    able = runnable(sample(wanted, arguments.limit, arguments.seed))
    if not able.cases:
        raise EvaluationError(f"nothing of {benchmark.name} can run here: {able.skipped}")
    solver, model = make_solver(arguments)
    settings = {
        "benchmark": benchmark.name,
        "data_digest": cases_digest(everything),
        "only": arguments.only,
        "seed": arguments.seed,
        "limit": arguments.limit,
        "sampling": SAMPLING_RULE,
        "solver": arguments.solver,
        "decoding": _decoding(arguments),
        "model": model,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    folder = RunFolder(arguments.out or default_home() / "evaluation" / _label(arguments))
    already = folder.begin(settings, resume=arguments.resume)
    summary = run_cases(able.cases, solver, folder, already)
    summary["skipped"] = able.skipped
    folder.write_summary(summary)
    print(json.dumps(summary, indent=2) if arguments.json else _format(summary, benchmark.name, folder.path))
    return 0


def _decoding(arguments: argparse.Namespace) -> dict[str, Any] | None:
    if arguments.solver != "runtime":
        return None
    return {key: getattr(arguments, key) for key in ("policy", "block", "steps", "accept")}


def _label(arguments: argparse.Namespace) -> str:
    parts = [arguments.name, arguments.policy if arguments.solver == "runtime" else arguments.solver]
    parts += [f"{key[0]}{getattr(arguments, key)}" for key in ("block", "steps", "accept") if getattr(arguments, key)]
    return "-".join(parts)


def make_solver(arguments: argparse.Namespace) -> tuple[Solver, dict[str, Any]]:
    """The solver the flags name, and what to record about its model."""
    if arguments.solver == "reference":
        return ReferenceSolver(), {}
    if arguments.solver == "unchanged":
        return UnchangedSolver(), {}
    if arguments.solver != "runtime":
        from model_runtime.evaluation.speed.peers import make_peer

        return make_peer(arguments.solver, arguments.gguf, arguments.model, arguments.threads)
    from model_runtime.runtime import Runtime

    config = runtime_config_from_environment()
    config = replace(config, model=arguments.model or config.model, threads=arguments.threads or config.threads)
    runtime = Runtime.load(config)
    runtime.warm_up()
    options = DecodeOptions(arguments.policy, arguments.block, arguments.steps, arguments.accept)
    return RuntimeSolver(runtime, options), runtime.info.provenance()


def _format(summary: dict[str, Any], name: str, folder: Path) -> str:
    low, high = summary["interval_95"]
    share = f"{100 * summary['pass_at_1']:.1f} %"
    lines = [f"{name}: {summary['passed']}/{summary['cases']} = {share} (95 % {100 * low:.1f}-{100 * high:.1f})"]
    if summary["exact_match"] is not None:
        lines.append(
            f"exact match {100 * summary['exact_match']:.1f} %, edit similarity {summary['edit_similarity']:.3f}"
        )
    lines.append(
        f"tokens {summary['tokens']}, forwards {summary['forwards']}, tokens/forward {summary['tokens_per_forward']}, "
        f"tokens/s {summary['tokens_per_second']}, ms p50 {summary['ms_median']}, p95 {summary['ms_p95']}"
    )
    lines.append(f"outcomes {summary['outcomes']}; finish {summary['finish_reasons']}")
    for language, part in summary["by_language"].items():
        lines.append(f"  {language}: {part['passed']}/{part['cases']}")
    for language, reason in summary["skipped"].items():
        lines.append(f"  skipped {language}: {reason}")
    if "isolation" in summary:
        lines.append(f"sandbox: {summary['isolation']}")
    lines.append(f"samples: {folder}")
    return "\n".join(lines)
