"""Injected failures: no CuPy, no NVRTC, an old card, no memory, a card lost in the middle: the CPU goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model_runtime import (
    Cancelled,
    CompletionRequest,
    EditRequest,
    GenerateRequest,
    OutOfMemory,
    Runtime,
    RuntimeConfig,
    SamplingParams,
    StopRules,
)
from model_runtime import runtime as runtime_module
from model_runtime.cuda_path.load import load_fused
from model_runtime.failover import cpu_at_load, reason_to_leave
from model_runtime.kernels import Kernels
from model_runtime.kernels.launch import KernelError
from model_runtime.loading import Placement
from model_runtime.runtime import Runtime as LoadedRuntime
from model_runtime.tokenizer import Tokenizer
from tests.cuda_path.fused_model import PLAIN, load

LOST = "CUDA error: an illegal memory access was encountered"
PARAMS = SamplingParams(max_tokens=6)
REQUEST = CompletionRequest("x = 1\n", stop=StopRules(stop_at_suffix=False), params=PARAMS)


@pytest.fixture
def cpu_config(folder: Path) -> RuntimeConfig:
    return RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=512)


def on_device(folder: Path, error: Exception | None, after: int = 3) -> Runtime:
    """A runtime whose network fails at its `after`-th step or forward, as on a device."""
    network = load(folder, PLAIN)
    config = RuntimeConfig(model=str(folder), device="auto", cache_tokens=512)
    info = Runtime.load(replace(config, device="cpu", cache_tokens=64)).info
    hidden, calls = network.model.hidden, 0

    def failing(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if error is not None and calls >= after:
            raise error
        return hidden(*given)

    network.model.hidden = failing  # type: ignore[method-assign]
    return LoadedRuntime(network, Tokenizer.load(folder), replace(info, device="cuda:0"), 512, config=config)


@pytest.mark.parametrize(
    ("error", "reason", "after"),
    [
        (RuntimeError(LOST), f"the GPU failed: {LOST}", 4),
        (torch.cuda.OutOfMemoryError("CUDA out of memory.\nmore"), "the GPU is out of memory: CUDA out of memory.", 1),
    ],
)
def test_a_device_that_fails_in_a_request_is_left(
    folder: Path, caplog: pytest.LogCaptureFixture, error: Exception, reason: str, after: int
) -> None:
    """Between steps, or while the prompt is read: the answer is the CPU's, whole, and the next one too."""
    expected = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", cache_tokens=512)).complete(REQUEST)
    runtime = on_device(folder, error, after)
    with caplog.at_level(logging.WARNING):
        assert runtime.complete(REQUEST).text == expected.text
        assert runtime.complete(REQUEST).text == expected.text
    assert [each.getMessage() for each in caplog.records] == [f"going on with the CPU: {reason}"]
    assert (runtime.info.device, runtime.info.fallback) == ("cpu", reason)


def test_every_kind_of_request_goes_on(folder: Path) -> None:
    kinds: list[Callable[[Runtime], object]] = [
        lambda each: each.generate(GenerateRequest("x", params=PARAMS)).text,
        lambda each: [found.text for found in each.candidates(REQUEST, 2)],
        lambda each: list(each.edit(EditRequest("a = 1\n", "rename a", params=PARAMS)))[-1].text,
    ]
    cpu = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", cache_tokens=512))
    for ask in kinds:
        assert ask(on_device(folder, RuntimeError(LOST), after=2)) == ask(cpu)


def test_warming_up_prepares_the_network_and_leaves_a_device_that_fails(folder: Path) -> None:
    runtime = on_device(folder, RuntimeError(LOST), after=1)
    prepared: list[object] = []
    prepare = runtime._network.prepare  # type: ignore[union-attr]

    def recorded(cache: Any) -> None:
        prepared.append(cache)
        prepare(cache)

    runtime._network.prepare = recorded  # type: ignore[method-assign, union-attr]
    runtime.warm_up()
    assert len(prepared) == 1
    assert runtime.info.device == "cpu"


def test_an_edit_that_had_begun_starts_again(folder: Path) -> None:
    runtime = on_device(folder, RuntimeError(LOST), after=4)
    steps = list(runtime.edit(EditRequest("a = 1\nb = 2\n", "rename a", params=replace(PARAMS, max_tokens=24))))
    assert [step.is_final for step in steps] == [False] * (len(steps) - 1) + [True]
    assert runtime.info.device == "cpu"


def test_other_errors_stand(folder: Path) -> None:
    for error in (ValueError("a mistake of ours"), RuntimeError("shape mismatch"), Cancelled("stopped")):
        runtime = on_device(folder, error)
        with pytest.raises(type(error), match=str(error)):
            runtime.complete(REQUEST)
        assert runtime.info.device == "cuda:0"


def test_a_network_on_the_cpu_has_nowhere_to_go(cpu_config: RuntimeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime.load(cpu_config)
    monkeypatch.setattr(type(runtime._network), "forward", _raise(RuntimeError(LOST)))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        runtime.complete(REQUEST)


def _raise(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.fixture
def a_gpu_is_chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """`auto` and `cuda` choose a device that is not there; returns the devices networks were loaded on."""
    loaded: list[str] = []
    choose, load_network = runtime_module.choose_placement, runtime_module.load_network

    def chosen(config: RuntimeConfig) -> Placement:
        wants_gpu = config.device in ("auto", "cuda")
        return Placement(torch.device("cuda", 0), "bfloat16") if wants_gpu else choose(config)

    def recorded(checkpoint: Any, placement: Placement, *given: Any, **named: Any) -> Any:
        loaded.append(placement.device.type)
        if placement.device.type == "cuda":
            raise OutOfMemory("the model needs about 1.2 GiB on cuda:0")
        return load_network(checkpoint, placement, *given, **named)

    monkeypatch.setattr(runtime_module, "choose_placement", chosen)
    monkeypatch.setattr(runtime_module, "load_network", recorded)
    yield loaded


def test_a_model_that_does_not_fit_the_gpu_is_loaded_on_the_cpu(
    folder: Path, a_gpu_is_chosen: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    runtime = Runtime.load(RuntimeConfig(model=str(folder), cache_tokens=512))
    assert a_gpu_is_chosen == ["cuda", "cpu"]
    assert (runtime.info.device, runtime.info.fallback) == ("cpu", "the model needs about 1.2 GiB on cuda:0")
    assert [each.getMessage() for each in caplog.records] == [
        "going on with the CPU: the model needs about 1.2 GiB on cuda:0"
    ]
    assert runtime.complete(REQUEST).tokens >= 1


def test_who_asks_for_the_gpu_by_name_is_told(folder: Path, a_gpu_is_chosen: list[str]) -> None:
    with pytest.raises(OutOfMemory, match="needs about"):
        Runtime.load(RuntimeConfig(model=str(folder), device="cuda"))
    assert a_gpu_is_chosen == ["cuda"]


def test_which_errors_leave_the_device() -> None:
    auto, cuda = RuntimeConfig(), torch.device("cuda", 0)
    assert reason_to_leave(OutOfMemory("needs 9 GiB")) == "needs 9 GiB"
    assert reason_to_leave(KeyError("x")) is None
    assert cpu_at_load(auto, torch.device("cpu"), OutOfMemory("x")) is None
    assert cpu_at_load(replace(auto, precision="int4"), cuda, OutOfMemory("x")) is None
    assert cpu_at_load(auto, cuda, RuntimeError("CUDA driver version is insufficient")) is not None


class _WithoutCuda:
    """Stands for the backend of a device that cannot serve."""

    reason = ""

    def __init__(self, device: torch.device) -> None:
        raise KernelError(self.reason)


@pytest.mark.parametrize(
    "reason",
    [
        "CuPy cannot be imported (No module named 'cupy'); install seedls[cuda12] or seedls[cuda13]",
        "CuPy cannot be imported (libnvrtc.so.13: cannot open shared object file)",
        "Card (sm_75) is older than sm_80",
    ],
)
def test_without_kernels_the_plain_network_serves_with_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    """What those texts come from is in tests/kernels/test_compile.py; here is what loading makes of them."""
    monkeypatch.setattr("model_runtime.kernels.loader.CudaBackend", type("B", (_WithoutCuda,), {"reason": reason}))

    def refuse(name: str) -> torch.Tensor:
        raise AssertionError("weights were read for a network that cannot be")

    with caplog.at_level(logging.WARNING):
        found = load_fused(load(folder, PLAIN).config, refuse, Placement(torch.device("cuda", 0), "bfloat16"), 64)
    assert found is None
    assert [each.getMessage() for each in caplog.records] == [f"CUDA kernels are off: {reason}"]


def test_kernels_can_be_switched_off(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    placement = Placement(torch.device("cuda", 0), "bfloat16", use_kernels=False)
    assert load_fused(load(folder, PLAIN).config, _raise(AssertionError()), placement, 64) is None
    assert not caplog.records


def test_an_nvrtc_that_cannot_compile_leaves_every_operation_to_plain_torch(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.cuda_emulation.backend import EmulationBackend

    class Broken(EmulationBackend):
        def launch(self, launch: Any, arguments: Any) -> None:
            raise KernelError(f"{launch.source}.cu does not compile for Card (sm_90): nvrtc: error: no such option")

    network = load(folder, Kernels(Broken(), "broken"))
    expected = load(folder, PLAIN)
    none = torch.tensor([], dtype=torch.long)
    with caplog.at_level(logging.WARNING):
        found = network.decide(5, [6, 7], 0, network.new_cache(16), none, 2.0)
        network.decide(5, [6, 7], 0, network.new_cache(16), none, 2.0)
    assert found == expected.decide(5, [6, 7], 0, expected.new_cache(16), none, 2.0)
    names = [each.getMessage().split()[0] for each in caplog.records]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {
        "rms_norm", "linear_dense", "qkv_rope_write", "block_attention", "swiglu", "head_argmax", "commit_run"
    }  # fmt: skip
