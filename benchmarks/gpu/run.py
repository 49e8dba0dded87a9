"""Check and time every kernel on this machine's GPU; write results as JSON and Markdown.

    python -m benchmarks.gpu.run --out results                 tests, kernel table, whole-step table
    python -m benchmarks.gpu.run --out results --shape 1.5b --rows 1,8,32 --context 8192
    python -m benchmarks.gpu.run --out results --emulate       rehearsal on a CPU: same calls, checks only, no times

Needs torch and CuPy and no network. Times are medians of captured graphs; the floor is the least bytes an operation
must move over this card's own measured copy bandwidth. Exits with 1 when a kernel differs from its reference.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.gpu.cases import SHAPES, Case, CaseBuilder
from benchmarks.gpu.step import RandomDecoder
from benchmarks.gpu.timing import copy_bandwidth, time_captured
from model_runtime.kernels import Kernels, load_kernels


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the kernel table. Times are None in a rehearsal."""

    operation: str
    detail: str
    rows: int
    error: float
    is_right: bool
    megabytes: float
    floor_us: float | None = None
    kernel_us: float | None = None
    torch_us: float | None = None

    @property
    def ratio(self) -> float | None:
        """Measured time over the floor."""
        return self.kernel_us / self.floor_us if self.kernel_us and self.floor_us else None


def relative_error(actual: object, expected: object) -> float:
    """Largest relative 2-norm error over the results of an operation."""
    if isinstance(actual, tuple) and isinstance(expected, tuple):
        return max(relative_error(a, e) for a, e in zip(actual, expected, strict=True))
    assert isinstance(actual, torch.Tensor)
    assert isinstance(expected, torch.Tensor)
    if not bool(torch.isfinite(actual.float()).all()):
        return float("inf")
    difference = (actual.double() - expected.double()).norm()
    return float(difference / expected.double().norm().clamp_min(1e-30))


def measure(case: Case, kernels: Kernels, plain: Kernels, rows: int, bandwidth: float | None) -> Row:
    """Check a case on its first inputs, then time it over all of them."""
    first = case.input_sets[0]
    error = relative_error(case.run(kernels, first), case.run(plain, first))
    row = Row(case.operation, case.detail, rows, error, error <= case.tolerance, case.num_bytes / 1e6)
    if bandwidth is None:
        return row
    kernel = time_captured([lambda given=given: case.run(kernels, given) for given in case.input_sets])
    times = {"floor_us": case.num_bytes / bandwidth * 1e6, "kernel_us": kernel.median, "torch_us": time_plain(case)}
    return Row(**{**asdict(row), **times})


def time_plain(case: Case) -> float | None:
    """The same layer by torch's own kernels, where torch has one of the same kind."""
    if case.operation != "linear_dense":
        return None
    calls = [lambda given=given: torch.nn.functional.linear(given[0], given[1]) for given in case.input_sets]
    return time_captured(calls).median


def show(value: float | None, digits: int = 1) -> str:
    """A table cell."""
    return "-" if value is None else f"{value:.{digits}f}"


def kernel_table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| operation | detail | rows | MB | floor us | kernel us | ratio | torch us | error | right |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = f"{show(row.floor_us, 2)} | {show(row.kernel_us, 2)} | {show(row.ratio)} | {show(row.torch_us, 2)}"
        lines.append(
            f"| {row.operation} | {row.detail} | {row.rows} | {row.megabytes:.2f} | {times} | {row.error:.1e} | "
            f"{'yes' if row.is_right else 'NO'} |"
        )
    return "\n".join(lines)


def step_rows(
    options: argparse.Namespace, kernels: Kernels, bandwidth: float | None, device: torch.device
) -> list[dict]:
    """A whole denoising step at each number of rows: time, floor, and steps a second."""
    found = []
    for kind in ("dense", "int8"):
        for rows in options.rows:
            decoder = RandomDecoder(SHAPES[options.shape], kind, options.dtype, rows, options.context, device)
            result = decoder.step(kernels)
            entry = {
                "weights": kind,
                "rows": rows,
                "megabytes": decoder.num_bytes() / 1e6,
                "floor_us": None,
                "step_us": None,
            }
            entry["is_finite"] = bool(torch.isfinite(result.probabilities).all())
            if bandwidth is not None:
                entry["floor_us"] = decoder.num_bytes() / bandwidth * 1e6
                entry["step_us"] = time_captured([lambda decoder=decoder: decoder.step(kernels)]).median
            found.append(entry)
    return found


def step_table(steps: list[dict]) -> str:
    """Markdown."""
    lines = ["| weights | rows | MB | floor us | step us | ratio | steps/s |", "|---|---|---|---|---|---|---|"]
    for step in steps:
        floor, measured = step["floor_us"], step["step_us"]
        ratio, rate = (measured / floor, 1e6 / measured) if measured else (None, None)
        times = f"{show(floor)} | {show(measured)} | {show(ratio, 2)} | {show(rate, 0)}"
        lines.append(f"| {step['weights']} | {step['rows']} | {step['megabytes']:.1f} | {times} |")
    return "\n".join(lines)


def run_tests() -> str:
    """The kernel tests marked gpu; returns pytest's last line."""
    command = [sys.executable, "-m", "pytest", "tests/kernels", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = result.stdout.strip().splitlines()
    return lines[-1] if lines else f"pytest ended with {result.returncode}: {result.stderr.strip()[-200:]}"


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for kernels.json and kernels.md")
    parser.add_argument("--shape", choices=SHAPES, default="0.5b")
    parser.add_argument("--rows", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 16, 32])
    parser.add_argument("--context", type=int, default=2048, help="tokens already in the cache")
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--emulate", action="store_true", help="CPU emulation: checks only, no times")
    options = parser.parse_args()
    options.dtype = getattr(torch, options.dtype)
    return options


def main() -> int:
    options = parse_options()
    plain = Kernels(None, "reference")
    if options.emulate:
        from tests.cuda_emulation.backend import EmulationBackend

        device, bandwidth, name = torch.device("cpu"), None, "CPU emulation: no times"
        kernels, tests = Kernels(EmulationBackend(), name), "not run"
    else:
        kernels = load_kernels("cuda", options.dtype)
        if not kernels.are_active:
            print(f"no kernel can run here: {kernels.reason}", file=sys.stderr)
            return 1
        device, name = torch.device("cuda", torch.cuda.current_device()), kernels.reason
        tests = "skipped" if options.skip_tests else run_tests()
        bandwidth = copy_bandwidth(device)

    rows = []
    for num_rows in options.rows:
        sets = 1 if options.emulate else 8
        builder = CaseBuilder(SHAPES[options.shape], options.dtype, num_rows, options.context, device, sets)
        rows += [measure(case, kernels, plain, num_rows, bandwidth) for case in builder.all()]
    steps = step_rows(options, kernels, bandwidth, device)

    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": name,
        "torch": torch.__version__,
        "shape": options.shape,
        "dtype": str(options.dtype),
        "context": options.context,
        "copy_gigabytes_per_second": None if bandwidth is None else bandwidth / 1e9,
        "tests": tests,
        "fallbacks": kernels.describe(),
        "command": " ".join(["python", "-m", "benchmarks.gpu.run", *sys.argv[1:]]),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    results = {**facts, "kernels": [{**asdict(row), "ratio": row.ratio} for row in rows], "steps": steps}
    (options.out / "kernels.json").write_text(json.dumps(results, indent=1) + "\n")
    report = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    report += f"\n\n{kernel_table(rows)}\n\n## One denoising step\n\n{step_table(steps)}\n"
    (options.out / "kernels.md").write_text(report)
    print(report)
    return 0 if all(row.is_right for row in rows) and all(step["is_finite"] for step in steps) else 1


if __name__ == "__main__":
    sys.exit(main())
