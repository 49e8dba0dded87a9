"""Everything there is to measure on a GPU, in stages, most telling first; results are on disk after each.

    python -m benchmarks.gpu.run --out results                        all stages, in at most --budget seconds
    python -m benchmarks.gpu.run --out results --budget 500           again: goes on with the stages that are missing
    python -m benchmarks.gpu.run --out results --stages step,kernels --shape 1.5b
    python -m benchmarks.gpu.run --out results --emulate --shape tiny --rows 1,9 --context 300 --model FOLDER

    facts      card, driver, versions, copy bandwidth      compile    every kernel, side by side
    checks     every kernel right, once
    step       a denoising step: floor, replay, host       breakdown  what each operation takes of it
    same       greedy text with kernels on and off         decoding   tokens/s by policy, ratio to one at a time
    latency    warm p50 and p95 while typing               off        decoding with kernels off
    peer       `transformers` on the same weights          kernels    floor, time and ratio of every operation
    tests      the tests marked gpu

Needs torch and CuPy and no network; stages that need an installed model say so and are skipped without one. Times are
medians; the floor is the least bytes moved over this card's own measured copy bandwidth. With --emulate everything runs
on the CPU through the emulation of the CUDA sources: a rehearsal, without a time of the device. Exits with 1 when a
kernel differs from its reference or a stage failed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import Results
from benchmarks.gpu.stages import STAGES, Bench


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results.json and results.md")
    parser.add_argument("--stages", default=",".join(STAGES), help="which, in this order (default: all)")
    parser.add_argument("--budget", type=float, default=540, metavar="S", help="start no stage after this many seconds")
    parser.add_argument("--again", action="store_true", help="also run stages that are done")
    parser.add_argument("--shape", default="0.5b", help="of random weights: 0.5b, 1.5b, tiny")
    parser.add_argument("--rows", type=numbers, default=[1, 8, 16, 32, 64], help="rows of a step")
    parser.add_argument("--context", type=int, default=2048, help="tokens already in the cache")
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--model", default="coder-0.5b", help="installed model or checkpoint folder")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of the decoding cases")
    parser.add_argument("--cases", type=int, help="at most so many decoding cases")
    parser.add_argument("--emulate", action="store_true", help="rehearse on the CPU: checks only, no times")
    options = parser.parse_args(arguments)
    options.stages = [name for name in options.stages.split(",") if name]
    unknown = sorted(set(options.stages) - set(STAGES))
    if unknown:
        parser.error(f"unknown stage {unknown[0]!r} (known: {', '.join(STAGES)})")
    return options


def numbers(text: str) -> list[int]:
    """`1,8,16`."""
    return [int(part) for part in text.split(",")]


def run_stages(
    names: list[str],
    stages: dict[str, Callable[[Any], Any]],
    bench: Any,
    results: Results,
    deadline: float,
    again: bool,
) -> list[str]:
    """Run what is missing until the deadline (`time.monotonic`); returns the stages that failed, with their reasons."""
    failed = []
    for name in names:
        if name in results.stages and not again and "failed" not in results.stages[name]:
            continue
        if time.monotonic() >= deadline:
            print(f"no time left for {name}", flush=True)
            continue
        started = time.monotonic()
        try:
            results.add(name, stages[name](bench))
        except Exception as error:  # the next stage may still tell something
            traceback.print_exc()
            failed.append(f"{name}: {error}")
            results.add(name, {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"})
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    return failed


def main(arguments: list[str] | None = None) -> int:
    """0 when every stage that ran is right."""
    started = time.monotonic()
    options = parse_options(arguments)
    results = Results(options.out)
    bench = Bench.of(options)
    if bench is None:
        return 1
    failed = run_stages(options.stages, STAGES, bench, results, started + options.budget, options.again)
    print(results.markdown())
    for line in [*failed, *bench.wrong]:
        print(f"WRONG: {line}", file=sys.stderr)
    return 1 if failed or bench.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
