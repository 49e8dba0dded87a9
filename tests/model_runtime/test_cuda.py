"""The network and the loop on a CUDA device, plain torch: equal to the CPU in float32, lossless equal to ar."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_runtime import CompletionRequest, Runtime, RuntimeConfig, SamplingParams, StopRules
from model_runtime.checkpoint import open_checkpoint
from model_runtime.loading import choose_placement, load_network
from tests.support.tiny_model import write_tiny_checkpoint

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("cuda") / "tiny")


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[Runtime]:
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cuda", precision="float32", cache_tokens=512))
    yield loaded
    loaded.close()


def test_logits_equal_the_cpus(folder: Path) -> None:
    logits = []
    for device in ("cpu", "cuda"):
        with open_checkpoint(folder) as checkpoint:
            placement = choose_placement(RuntimeConfig(device=device, precision="float32"))
            network = load_network(checkpoint, placement, 64)
        ids = torch.arange(5, 45, device=network.device)
        logits.append(network.logits(network.forward(ids, network.new_cache(64), num_canvas=8)).cpu())
    assert float((logits[0] - logits[1]).abs().max() / logits[0].abs().max()) <= 1e-3


def test_lossless_equals_ar(runtime: Runtime) -> None:
    rng = random.Random(11)
    for _ in range(50):
        prefix = "".join(
            rng.choice(["def ", "self", "x", " = ", "\n", "🎉", "()"]) for _ in range(rng.randrange(1, 20))
        )
        params = SamplingParams(max_tokens=16, policy="ar")
        asked = CompletionRequest(prefix, stop=StopRules(stop_at_suffix=False), params=params)
        expected = runtime.complete(asked)
        assert runtime.complete(replace(asked, params=replace(params, policy="lossless"))).text == expected.text


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_runs(folder: Path, precision: str) -> None:
    config = RuntimeConfig(model=str(folder), device="cuda", precision=precision)  # type: ignore[arg-type]
    loaded = Runtime.load(config)
    assert loaded.complete(CompletionRequest("def f(x):", params=SamplingParams(max_tokens=8))).tokens >= 1
    assert set(loaded.latency_curve([1, 8], context=64)) == {1, 8}
    loaded.close()
