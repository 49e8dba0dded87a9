"""Capture and replay over a device that is not there: what is recorded, replayed, and done when it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model_runtime import Runtime, RuntimeConfig
from model_runtime import runtime as runtime_module
from model_runtime.cuda_path import graphs as graphs_module
from model_runtime.cuda_path.failures import is_device_failure, is_device_lost, is_out_of_memory
from model_runtime.cuda_path.graphs import CudaCapture, Graphs
from model_runtime.cuda_path.memory import STEP_ROWS
from model_runtime.cuda_path.network import FusedNetwork, StepStatistics
from model_runtime.loading import Adapters, Placement
from tests.cuda_path.fused_model import PLAIN, load, random_adapter
from tests.cuda_path.test_run_ahead import one_at_a_time, read_prompt, step


class RecordingCapture:
    """Keeps the function instead of its launches: replays run it on the same memory, as a graph would."""

    def __init__(self) -> None:
        self.num_captured = self.num_replays = 0

    def __call__(self, function: Callable[[], None]) -> Any:
        self.num_captured += 1

        def replay() -> None:
            self.num_replays += 1
            function()

        return SimpleNamespace(replay=replay)


def test_the_first_call_runs_then_replays() -> None:
    calls: list[str] = []
    capture = RecordingCapture()
    graphs = Graphs(capture)
    for key in ("a", "a", "b", "a"):
        graphs.run(key, lambda key=key: calls.append(key))  # type: ignore[misc]
    assert calls == ["a", "a", "b", "a"]
    assert (capture.num_captured, capture.num_replays, graphs.num_captured, graphs.num_replays) == (2, 2, 2, 2)


def test_decoding_by_replay_is_decoding(folder: Path) -> None:
    """Every step over the same memory: what a step leaves behind must not reach the next but through that memory."""
    expected = one_at_a_time(load(folder, PLAIN), read_prompt(load(folder, PLAIN), [5, 6, 7]), 9, 8)
    network, capture = load(folder, PLAIN), RecordingCapture()
    network.graphs = Graphs(capture)
    cache = read_prompt(network, [5, 6, 7])
    assert one_at_a_time(network, cache, 9, 8) == expected
    assert capture.num_captured == 2  # a prompt of up to 16 rows, a step of one
    assert capture.num_replays == 8 - 1 + 1  # every step but the first, and the one started ahead at the end
    cache.truncate(3)
    assert one_at_a_time(network, cache, 9, 8) == expected


def test_preparing_captures_every_size_and_changes_nothing(folder: Path) -> None:
    network = load(folder, PLAIN, mask=random_adapter(folder, "mask"))
    expected = one_at_a_time(network, read_prompt(network, [5, 6, 7]), 9, 4)
    capture = RecordingCapture()
    network.graphs = Graphs(capture)
    cache = network.new_cache(40)
    network.forward(torch.tensor([5, 6, 7]), cache, is_prompt=True)
    cache.commit([5, 6, 7])
    network.prepare(cache)
    fitting = [rows for rows in STEP_ROWS if rows <= 37]
    assert capture.num_captured == len(fitting) + len(fitting[1:]) + 1  # steps, with masks, a prompt of 16
    assert (network.statistics, list(cache.token_ids)) == (StepStatistics(), [5, 6, 7])
    assert one_at_a_time(network, cache, 9, 4) == expected
    assert capture.num_captured == len(fitting) + len(fitting[1:]) + 1


def test_a_step_with_masks_is_another_graph_and_so_is_another_cache(folder: Path) -> None:
    network, capture = load(folder, PLAIN, mask=random_adapter(folder, "mask")), RecordingCapture()
    network.graphs = Graphs(capture)
    cache, other = read_prompt(network, [5, 6, 7]), network.new_cache(96)
    first = step(network, cache, 9, [1, 2], 0)
    step(network, cache, first.token_ids[0], [1], 1)
    assert capture.num_captured == 1 + 2
    step(network, other, 9, [1, 2], 0)
    assert capture.num_captured == 1 + 3


def test_a_capture_that_fails_leaves_plain_calls_and_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(function: Callable[[], None]) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB\nmore")

    network = load(folder, PLAIN)
    expected = one_at_a_time(network, read_prompt(network, [5, 6, 7]), 9, 6)
    network.graphs = Graphs(fail)
    with caplog.at_level(logging.WARNING):
        assert one_at_a_time(network, read_prompt(network, [5, 6, 7]), 9, 6) == expected
    assert [each.getMessage() for each in caplog.records] == [
        "CUDA graphs are off: CUDA out of memory. Tried to allocate 2.00 MiB"
    ]
    assert network.describe()[-1] == "graphs: off"


def test_a_card_lost_while_capturing_is_not_hidden() -> None:
    def fail(function: Callable[[], None]) -> Any:
        raise RuntimeError("CUDA error: unspecified launch failure")

    with pytest.raises(RuntimeError, match="unspecified launch failure"):
        Graphs(fail).run("a", lambda: None)


def test_capture_records_on_the_shared_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thin part: what torch is asked for."""
    asked: list[Any] = []

    class Context:
        def __init__(self, graph: Any, **named: Any) -> None:
            asked.append(named)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: Any) -> None: ...

    fake = SimpleNamespace(
        graph_pool_handle=lambda: "pool", synchronize=asked.append, CUDAGraph=lambda: "graph", graph=Context
    )
    monkeypatch.setattr(graphs_module.torch, "cuda", fake)
    ran: list[int] = []
    assert CudaCapture(torch.device("cuda", 0))(lambda: ran.append(1)) == "graph"
    assert asked == [torch.device("cuda", 0), {"pool": "pool", "capture_error_mode": "thread_local"}]
    assert ran == [1]


class CUDADriverError(RuntimeError):
    """As CuPy has it."""

    __module__ = "cupy_backends.cuda.api.driver"


@pytest.mark.parametrize(
    ("error", "lost", "full"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), False, True),
        (CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), False, True),
        (CUDADriverError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"), True, False),
        (RuntimeError("CUDA error: device-side assert triggered"), True, False),
        (RuntimeError("cuDNN error: CUBLAS_STATUS_EXECUTION_FAILED"), True, False),
        (RuntimeError("CUDA error: operation not permitted when stream is capturing"), False, False),
        (RuntimeError("shape mismatch"), False, False),
        (ValueError("CUDA error: this is our own text"), False, False),
        (MemoryError(), False, False),
    ],
)
def test_which_errors_are_the_devices(error: Exception, lost: bool, full: bool) -> None:
    assert (is_device_lost(error), is_out_of_memory(error)) == (lost, full)
    assert is_device_failure(error) == (lost or full)


def test_describe_names_operations_and_graphs(folder: Path) -> None:
    network: FusedNetwork = load(folder, PLAIN)
    assert network.describe() == ["kernels: plain torch (reference)", "graphs: off"]
    network.graphs = Graphs(RecordingCapture())
    read_prompt(network, [5, 6])
    assert network.describe()[-1] == "graphs: on, 1 captured"


def test_the_loaded_model_says_what_computes(folder: Path) -> None:
    """`seedls doctor` prints every field of it."""
    config = RuntimeConfig(model=str(folder), device="cpu", cache_tokens=64)
    runtime = Runtime.load(config)
    assert (runtime.info.operations, runtime.info.fallback) == ("plain torch", "")
    placement = Placement(torch.device("cpu"), "bfloat16")
    network = load(folder, PLAIN)
    info = runtime_module._model_info("m", folder, network.config, placement, network, Adapters())
    assert info.operations == "kernels: plain torch (reference); graphs: off"
