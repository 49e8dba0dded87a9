"""Whole requests through the wired path under emulation: the same text with kernels and without, in every policy."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_runtime import (
    CompletionRequest,
    CompletionResult,
    GenerateRequest,
    Runtime,
    RuntimeConfig,
    SamplingParams,
    StopRules,
)
from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.kernels import Kernels
from model_runtime.runtime import Runtime as LoadedRuntime
from model_runtime.tokenizer import Tokenizer
from tests.cuda_emulation.backend import EmulationBackend, compiler
from tests.cuda_path.fused_model import PLAIN, load, random_adapter
from tests.support.frequent_ends import end_often

needs_compiler = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")
TEXTS = ("def add(a, b):\r\n\treturn ", "é🎉 self", "\t\t()():\n")


def emulated() -> Kernels:
    return Kernels(EmulationBackend(), "emulated")


def runtime(folder: Path, network: FusedNetwork) -> Runtime:
    info = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=64)).info
    return LoadedRuntime(network, Tokenizer.load(folder), info, 512)


def complete(loaded: Runtime, prefix: str, **params: object) -> CompletionResult:
    given = SamplingParams(max_tokens=12, **params)  # type: ignore[arg-type]
    return loaded.complete(CompletionRequest(prefix, stop=StopRules(stop_at_suffix=False), params=given))


@needs_compiler
@pytest.mark.parametrize("policy", ["ar", "lossless", "fast"])
def test_the_same_text_with_kernels_on_and_off(folder: Path, policy: str) -> None:
    """float16: its rounding is far below the distance between these random logits."""
    mask, healing = random_adapter(folder, "mask"), random_adapter(folder, "healing", size=0.05)
    with_kernels, without = (
        runtime(folder, load(folder, kernels, "float16", mask=mask, healing=healing)) for kernels in (emulated(), PLAIN)
    )
    for prefix in TEXTS:
        actual = complete(with_kernels, prefix, policy=policy, block_size=4)
        expected = complete(without, prefix, policy=policy, block_size=4)
        assert (actual.text, actual.tokens, actual.forwards) == (expected.text, expected.tokens, expected.forwards)
        assert actual.token_probs == pytest.approx(expected.token_probs, rel=0.05)


@needs_compiler
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_lossless_writes_what_ar_writes(folder: Path, precision: str) -> None:
    """Exactly, near ties included: rows do not depend on their neighbours."""
    network = load(folder, emulated(), precision, mask=random_adapter(folder, "mask"))
    loaded, rng = runtime(folder, network), random.Random(3)
    for _ in range(4):
        pieces = ["def ", "self", "x", " = ", "\n", "🎉", "()"]
        prefix = "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 20)))
        expected = complete(loaded, prefix, policy="ar")
        actual = complete(loaded, prefix, policy="lossless", block_size=rng.choice([None, 1, 4, 16]))
        assert (actual.text, actual.tokens) == (expected.text, expected.tokens)
    assert network.statistics.foreseen > 0


@needs_compiler
def test_a_refused_end_is_decided_again_behind_steps_that_ran_ahead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = end_often(monkeypatch)
    network = load(folder, emulated(), mask=random_adapter(folder, "mask"))
    loaded, rng = runtime(folder, network), random.Random(3)
    for _ in range(12):
        prefix = "".join(
            rng.choice(["def ", "self", "x", " = ", "\n", "🎉", "()"]) for _ in range(rng.randrange(1, 20))
        )
        asked = CompletionRequest(prefix, language="python", stop=StopRules(stop_at_suffix=False))
        texts = [
            loaded.complete(replace(asked, params=SamplingParams(policy, 24, block))).text  # type: ignore[arg-type]
            for policy, block in (("ar", None), ("lossless", None), ("lossless", 1), ("lossless", 8))
        ]
        assert len(set(texts)) == 1
    assert len(refused) > 10
    assert network.statistics.foreseen > 0


def test_greedy_decoding_never_makes_logits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load(folder, PLAIN)
    loaded = runtime(folder, network)
    request = GenerateRequest("self", params=SamplingParams(max_tokens=8))
    expected = loaded.generate(replace(request, params=replace(request.params, policy="ar")))

    def refuse(hidden: torch.Tensor) -> torch.Tensor:
        raise AssertionError("logits were asked for")

    monkeypatch.setattr(network, "logits", refuse)
    assert loaded.generate(request).text == expected.text
    with pytest.raises(AssertionError, match="logits were asked for"):
        loaded.generate(replace(request, params=replace(request.params, temperature=1.0)))


def test_sampling_goes_through_logits_and_is_reproducible(folder: Path) -> None:
    loaded = runtime(folder, load(folder, PLAIN))
    asked = {"temperature": 0.8, "seed": 5}
    first = complete(loaded, "def ", **asked)
    assert complete(loaded, "def ", policy="ar", **asked).text == first.text


@needs_compiler
def test_fast_takes_a_whole_canvas_when_told_to(folder: Path) -> None:
    """A block's last step accepts every guess: on the device as on the host."""
    loaded = runtime(folder, load(folder, emulated(), "float16", mask=random_adapter(folder, "mask")))
    params = SamplingParams(policy="fast", max_tokens=12, block_size=4, max_steps=1, accept_threshold=1.0)
    request = CompletionRequest("é", stop=StopRules(stop_at_suffix=False), params=params)
    limited, free = loaded.complete(request), loaded.complete(replace(request, params=replace(params, max_steps=None)))
    assert limited.forwards <= free.forwards
