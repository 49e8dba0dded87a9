"""The stages of a GPU run. Each takes the `Bench` and returns what goes into the results; none depends on another."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import torch

from benchmarks.gpu import end_to_end
from benchmarks.gpu.cases import SHAPES, CaseBuilder
from benchmarks.gpu.kernel_table import measure
from benchmarks.gpu.step import measure_breakdown, measure_step, random_network
from benchmarks.gpu.timing import copy_bandwidth
from benchmarks.gpu.variants import variants
from model_runtime import Runtime, RuntimeConfig, RuntimeFailure, default_home
from model_runtime.install import find_checkpoint
from model_runtime.kernels import Kernels, load_kernels
from model_runtime.kernels.loader import CudaBackend
from model_runtime.loading import Placement, choose_placement, load_network
from model_runtime.models.fused_qwen2 import WeightFormat

_TESTS_SECONDS = 420


@dataclass
class Bench:
    """What the stages share: options, device, operation tables, and the loaded model."""

    options: argparse.Namespace
    device: torch.device
    kernels: Kernels
    plain: Kernels
    wrong: list[str] = field(default_factory=list)
    """What differed from its reference, for the exit status."""

    @classmethod
    def of(cls, options: argparse.Namespace) -> Bench | None:
        """None, with a line, where no kernel can run."""
        plain = Kernels(None, "reference")
        if options.emulate:
            from tests.cuda_emulation.backend import EmulationBackend

            return cls(options, torch.device("cpu"), Kernels(EmulationBackend(), "CPU emulation: no times"), plain)
        kernels = load_kernels("cuda", getattr(torch, options.dtype))
        if not kernels.are_active:
            print(f"no kernel can run here: {kernels.reason}", file=sys.stderr)
            return None
        return cls(options, torch.device("cuda", torch.cuda.current_device()), kernels, plain)

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        found: torch.dtype = getattr(torch, self.options.dtype)
        return found

    @cached_property
    def bandwidth(self) -> float | None:
        """Bytes a second; None in a rehearsal."""
        return None if self.device.type == "cpu" else copy_bandwidth(self.device)

    @cached_property
    def runtime(self) -> Runtime:
        """The model with kernels on. RuntimeFailure if it is not installed."""
        if self.device.type == "cuda":
            return end_to_end.load(self.options.model, str(self.device), self.options.dtype)
        return self._emulated(self.kernels)

    @cached_property
    def runtime_off(self) -> Runtime:
        """The same with kernels off."""
        if self.device.type == "cuda":
            return end_to_end.load(self.options.model, str(self.device), self.options.dtype, use_kernels=False)
        return self._emulated(self.plain)

    def _emulated(self, kernels: Kernels) -> Runtime:
        """The CPU's runtime over a network that runs through the given table."""
        from model_runtime.checkpoint import open_checkpoint

        base = Runtime.load(RuntimeConfig(model=self.options.model, device="cpu", cache_tokens=512))
        placement = Placement(choose_placement(RuntimeConfig(device="cpu")).device, self.options.dtype)
        with open_checkpoint(find_checkpoint(self.options.model, default_home())) as checkpoint:
            network = load_network(checkpoint, placement, 512, kernels=kernels)
        return Runtime(network, base._model.tokenizer, base.info, 512)


def facts(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": bench.kernels.reason,
        "torch": torch.__version__,
        "shape": bench.options.shape,
        "dtype": bench.options.dtype,
        "context": bench.options.context,
        "copy_gigabytes_per_second": None if bench.bandwidth is None else bench.bandwidth / 1e9,
        "operations": "; ".join(bench.kernels.describe()),
        "command": " ".join(["python", "-m", "benchmarks.gpu.run", *sys.argv[1:]]),
    }
    if bench.device.type == "cuda":
        import cupy

        found |= {"cuda": torch.version.cuda, "cupy": cupy.__version__}
    return found


def compile_kernels(bench: Bench) -> dict[str, Any]:
    """Every variant, side by side; the same machine finds them on disk the next time."""
    if bench.device.type == "cpu":
        return {"compiled": "not run in a rehearsal"}
    started = time.monotonic()
    wanted = [(each.source, each.defines) for each in variants(bench.options.dtype == "bfloat16")]
    failed = CudaBackend(bench.device).compile_ahead(wanted, os.cpu_count() or 4)
    bench.wrong += failed
    return {"variants": len(wanted), "failed": len(failed), "seconds": time.monotonic() - started}


def kernel_rows(bench: Bench, row_counts: list[int], bandwidth: float | None) -> list[dict[str, Any]]:
    """Every operation at every number of rows."""
    rows = []
    for count in row_counts:
        sets = 1 if bandwidth is None else 8
        shape = SHAPES[bench.options.shape]
        builder = CaseBuilder(shape, bench.dtype, count, bench.options.context, bench.device, sets)
        for case in builder.all():
            row = measure(case, bench.kernels, bench.plain, count, bandwidth)
            rows.append({**asdict(row), "ratio": row.ratio})
            if not row.is_right:
                bench.wrong.append(f"{row.operation} {row.detail}, {count} rows: error {row.error:.1e}")
    return rows


def checks(bench: Bench) -> list[dict[str, Any]]:
    """Right or wrong only: seconds, before anything is timed."""
    rows = kernel_rows(bench, [min(9, max(bench.options.rows))], None)
    kept = ("operation", "detail", "rows", "error", "is_right")
    return [{name: row[name] for name in kept} for row in rows]


def step(bench: Bench) -> list[dict[str, Any]]:
    found = []
    formats: tuple[WeightFormat, ...] = ("dense", "int8", "int4")
    for weights in formats:
        shape, positions = SHAPES[bench.options.shape], bench.options.context + 2048
        network = random_network(shape, weights, bench.kernels, bench.dtype, bench.device, positions)
        for rows in bench.options.rows:
            row = measure_step(network, weights, rows, bench.options.context, bench.bandwidth)
            found.append({**asdict(row), "ratio": row.ratio})
            if not row.is_finite:
                bench.wrong.append(f"step of {rows} rows with {weights} weights: not finite")
    return found


def breakdown(bench: Bench) -> list[dict[str, Any]]:
    given = (SHAPES[bench.options.shape], bench.kernels, bench.dtype)
    return [
        row
        for rows in bench.options.rows[:3]
        for row in measure_breakdown(*given, rows, bench.options.context, bench.device)
    ]


def same(bench: Bench) -> dict[str, Any]:
    return end_to_end.same_tokens(bench.runtime, bench.runtime_off, bench.options.cases)


def decoding(bench: Bench) -> dict[str, Any]:
    found = end_to_end.decoding(bench.runtime, bench.options.rounds, bench.options.cases)
    ahead = end_to_end.ahead_statistics(bench.runtime)
    return {**found, "ran ahead": ahead} if ahead is not None else found


def latency(bench: Bench) -> dict[str, Any]:
    limit = 300 if bench.device.type == "cuda" else 4
    return {"kernels on": end_to_end.warm_latency(bench.runtime, limit)}


def off(bench: Bench) -> dict[str, Any]:
    return end_to_end.decoding(bench.runtime_off, 1, bench.options.cases)


def peer(bench: Bench) -> dict[str, Any]:
    checkpoint = find_checkpoint(bench.options.model, default_home())
    return end_to_end.transformers_rate(checkpoint, str(bench.device), 128 if bench.device.type == "cuda" else 4)


def kernels(bench: Bench) -> list[dict[str, Any]]:
    return kernel_rows(bench, bench.options.rows, bench.bandwidth)


def tests(bench: Bench) -> dict[str, str]:
    """The tests marked gpu; pytest's last line."""
    if bench.device.type == "cpu":
        return {"pytest": "not run in a rehearsal"}
    folders = ["tests/kernels", "tests/cuda_path", "tests/model_runtime/test_cuda.py"]
    # Without this project's pytest settings: they ask for plugins that a bare machine does not have.
    bare = ["-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *bare, *folders, "-m", "gpu", "-q"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TESTS_SECONDS)
    lines = result.stdout.strip().splitlines()
    if result.returncode:
        bench.wrong.append("tests marked gpu")
    return {"pytest": lines[-1] if lines else f"ended with {result.returncode}: {result.stderr.strip()[-200:]}"}


def _with_model(stage: Callable[[Bench], Any]) -> Callable[[Bench], Any]:
    """A stage that a missing model skips, with the reason in the results."""

    def run(bench: Bench) -> Any:
        try:
            return stage(bench)
        except RuntimeFailure as error:
            return {"skipped": str(error)}

    return run


STAGES: dict[str, Callable[[Bench], Any]] = {
    "facts": facts,
    "compile": compile_kernels,
    "checks": checks,
    "step": step,
    "breakdown": breakdown,
    "same": _with_model(same),
    "decoding": _with_model(decoding),
    "latency": _with_model(latency),
    "off": _with_model(off),
    "peer": _with_model(peer),
    "kernels": kernels,
    "tests": tests,
}
"""In the order they are worth having."""
