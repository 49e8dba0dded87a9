"""The one timer of the GPU benchmarks: captured graphs, replayed between CUDA events; median and spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Measurement:
    """Microseconds of one call."""

    median: float
    lowest: float
    highest: float


def time_captured(calls: list[Callable[[], object]], repeats: int = 30) -> Measurement:
    """Time of one call, when all are captured in one graph in turn (so each finds the caches used by the others).

    Every call runs twice before capture: the first compiles its kernels, which capture forbids.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls * 2:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(3):
        graph.replay()
    samples = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        samples.append(start.elapsed_time(end) * 1000 / len(calls))
    return Measurement(statistics.median(samples), min(samples), max(samples))


def time_wall(call: Callable[[], object], repeats: int = 30) -> float:
    """Median microseconds of a call on the host's clock; the call itself waits for its result."""
    for _ in range(5):
        call()
    samples = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        samples.append((time.perf_counter() - started) * 1e6)
    return statistics.median(samples)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second of a large device-to-device copy, read plus written: the ceiling that floors are computed from."""
    source = torch.randn(256 * 1024 * 1024, device=device)
    target = torch.empty_like(source)
    measured = time_captured([lambda: target.copy_(source)])
    return 2 * source.numel() * 4 / (measured.median * 1e-6)
