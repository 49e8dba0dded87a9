"""A denoiser adapter drafts on masked rows; what is committed stays the base's, with any adapter, good or random."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_runtime import CheckpointMismatch, CompletionRequest, Runtime, RuntimeConfig, SamplingParams, StopRules
from model_runtime.adapters import Adapter, LowRank
from model_runtime.checkpoint import open_checkpoint
from model_runtime.diffusion.denoise import Rows, denoise_step
from model_runtime.loading import Adapters, choose_placement, load_network
from model_runtime.models.qwen2 import Qwen2
from model_runtime.runtime import Runtime as LoadedRuntime
from model_runtime.tokenizer import Tokenizer
from tests.support.tiny_model import tiny_config, write_tiny_checkpoint

RANK = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("denoiser") / "tiny")


def random_adapter(folder: Path, size: float = 0.3) -> Adapter:
    """Factors for every linear of every layer."""
    generator = torch.Generator().manual_seed(5)
    with open_checkpoint(folder) as checkpoint:
        names = [name for name in checkpoint.names() if name.endswith("_proj.weight")]
        shapes = {name: checkpoint.shape(name) for name in names}
    factors = {
        name: LowRank(
            torch.randn(RANK, shape[1], generator=generator) * size,
            torch.randn(shape[0], RANK, generator=generator) * size,
        )
        for name, shape in shapes.items()
    }
    embedding = torch.randn(tiny_config().hidden_size, generator=generator)
    return Adapter("mask", RANK, 8.0, "", factors, {}, embedding)


def load(folder: Path, adapter: Adapter | None, precision: str = "float32") -> Qwen2:
    placement = choose_placement(RuntimeConfig(device="cpu", precision=precision))  # type: ignore[arg-type]
    with open_checkpoint(folder) as checkpoint:
        return load_network(checkpoint, placement, 512, Adapters(mask=adapter))


def runtime(folder: Path, adapter: Adapter | None) -> Runtime:
    info = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=64)).info
    return LoadedRuntime(load(folder, adapter), Tokenizer.load(folder), info, 512)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_causal_rows_are_the_base_exactly_and_canvas_rows_are_not(folder: Path, precision: str) -> None:
    base, adapted = load(folder, None, precision), load(folder, random_adapter(folder), precision)
    mask = tiny_config().mask_token_id
    ids = torch.tensor([*range(10, 30), mask, mask, mask])
    plain, drafted = (each.forward(ids, each.new_cache(64), num_canvas=3) for each in (base, adapted))
    assert torch.equal(plain[:-3], drafted[:-3])
    assert not torch.allclose(plain[-3:], drafted[-3:], atol=1e-2)


def test_the_adapter_is_the_sum_it_says(folder: Path) -> None:
    """All rows on the canvas: the same as a base with `W + scale * B A` everywhere."""
    adapter = random_adapter(folder)
    merged_weights = replace(adapter, kind="healing", mask_embedding=None)
    placement = choose_placement(RuntimeConfig(device="cpu", precision="float32"))
    with open_checkpoint(folder) as checkpoint:
        merged = load_network(checkpoint, placement, 64, Adapters(healing=merged_weights))
    ids = torch.arange(12)
    gated = load(folder, adapter)
    expected = merged.forward(ids, merged.new_cache(64), num_canvas=12)
    assert torch.allclose(gated.forward(ids, gated.new_cache(64), num_canvas=12), expected, atol=1e-4)


def test_lossless_equals_ar_whatever_the_denoiser_drafts(folder: Path) -> None:
    with_denoiser, base = runtime(folder, random_adapter(folder)), runtime(folder, None)
    rng = random.Random(3)
    for _ in range(60):
        prefix = "".join(
            rng.choice(["def ", "self", "x", " = ", "\n", "🎉", "()"]) for _ in range(rng.randrange(1, 20))
        )
        block = rng.choice([None, 1, 4, 16])
        params = SamplingParams(max_tokens=16, block_size=block)
        asked = CompletionRequest(prefix, stop=StopRules(stop_at_suffix=False), params=params)
        expected = base.complete(replace(asked, params=replace(params, policy="ar")))
        actual = with_denoiser.complete(asked)
        assert (actual.text, actual.tokens) == (expected.text, expected.tokens)


def test_masked_rows_draft_the_next_canvas(folder: Path) -> None:
    network, mask = load(folder, random_adapter(folder)), tiny_config().mask_token_id
    assert mask is not None
    cache, none = network.new_cache(64), torch.tensor([], dtype=torch.long)
    network.forward(torch.arange(9), cache)
    cache.commit(list(range(9)))
    hidden = network.forward(torch.tensor([7, mask, mask, mask]), cache, num_canvas=3)
    expected = network.logits(hidden)[1:].argmax(-1).tolist()
    step = denoise_step(network, cache, Rows(7, [], [mask] * 3), SamplingParams(), none)
    assert (step.canvas, step.num_accepted, cache.length) == (expected, 0, 10)
    wrong = [(step.token_ids[0] + 1) % 256] * 4
    behind_a_wrong_guess = denoise_step(
        network, cache, Rows(step.token_ids[0], wrong, [mask] * 3), SamplingParams(), none
    )
    assert len(behind_a_wrong_guess.canvas) < 4 + 3  # what stood behind it is not trusted


def test_the_loop_uses_the_drafts(folder: Path) -> None:
    loaded = runtime(folder, random_adapter(folder))
    params = SamplingParams(policy="fast", accept_threshold=1e-12, max_tokens=40, block_size=8)
    result = loaded.complete(CompletionRequest("é", stop=StopRules(stop_at_suffix=False), params=params))
    alone = loaded.complete(replace(CompletionRequest("é"), params=replace(params, policy="ar")))
    assert result.tokens / result.forwards > 1.2
    assert alone.tokens == alone.forwards


@pytest.mark.parametrize("schedule", [True, False])
def test_drafting_in_a_forward_of_its_own_writes_the_same_and_costs_more(folder: Path, schedule: bool) -> None:
    fused = runtime(folder, random_adapter(folder))
    fused.switches = replace(fused.switches, schedule=schedule)
    apart = fused.twin(replace(fused.switches, fusion=False))
    assert fused.has_denoiser and apart.has_denoiser
    forwards = [0, 0]
    for i in range(8):
        request = CompletionRequest(
            f"é{i}x", stop=StopRules(stop_at_suffix=False), params=SamplingParams(max_tokens=16)
        )
        results = [fused.complete(request), apart.complete(request)]
        assert results[0].text == results[1].text
        forwards = [total + each.forwards for total, each in zip(forwards, results, strict=True)]
    # A random denoiser is seldom right: the scheduler soon stops asking it.
    assert forwards[1] > forwards[0] * (1.1 if schedule else 1.4)


def test_an_adapter_of_another_model_is_refused(folder: Path) -> None:
    adapter = random_adapter(folder)
    strange = {"model.layers.9.mlp.up_proj.weight": next(iter(adapter.factors.values()))}
    with pytest.raises(CheckpointMismatch, match=r"model\.layers\.9"):
        load(folder, replace(adapter, factors=strange))
    with pytest.raises(CheckpointMismatch, match="no mask embedding"):
        load(folder, replace(adapter, mask_embedding=None))
