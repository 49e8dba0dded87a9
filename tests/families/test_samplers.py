"""The decoding loops against the published samplers: the same greedy tokens from the same weights.

Stored samples come from the code named in each `reference.json`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model_runtime.diffusion.canvas import Canvas, denoise_span, next_token
from model_runtime.diffusion.canvas_views import BlockCausalView, FullView, ReorderedView
from model_runtime.diffusion.lengths import Lengths
from model_runtime.diffusion.unmask import Rule
from model_runtime.models.decoder import Decoder
from tests.families.published import (
    CHECKPOINTS,
    END_ID,
    EXPAND_ID,
    MASK_ID,
    load_published,
    reference_samples,
    write_published,
)

# The published samplers forbid nothing, not even the mask; the runtime does (`families/mask.py`).
NOTHING = torch.tensor([], dtype=torch.long)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoder]:
    parent = tmp_path_factory.mktemp("published")
    return {name: load_published(write_published(name, parent)) for name in CHECKPOINTS}


def samples(*names: str, starting_with: tuple[str, ...] = ("",)) -> list[tuple[str, str]]:
    return [(name, key) for name in names for key in reference_samples(name) if key.startswith(starting_with)]


def rule_of(sample: dict[str, Any]) -> Rule:
    return Rule(
        order=sample["order"],
        schedule=sample["schedule"],
        steps=sample.get("steps"),
        threshold=sample.get("threshold"),
        is_sequential=sample.get("strategy") == "sequential",
        edit_threshold=sample.get("edit_threshold"),
    )


def run(span: Any) -> None:
    for _ in span:
        pass


SHIFTED = ("dream", "coda", "open-dcoder")
FULL = samples(*SHIFTED, "llada", "a2d-qwen2", "a2d-qwen3", "a2d-llama")


@pytest.mark.parametrize(("name", "key"), FULL)
def test_full_attention(name: str, key: str, networks: dict[str, Decoder]) -> None:
    sample = reference_samples(name)[key]
    if key.startswith("bd3lm"):
        return check_block_causal(name, sample, networks[name])
    prompt, num_new = sample["prompt"], sample["new_tokens"]
    block = sample.get("block_size", num_new)
    rule = rule_of(sample)
    if sample.get("threshold") is not None:
        rule = Rule(order="confidence", schedule="one", threshold=sample["threshold"])
    network = networks[name]
    canvas = Canvas(prompt + [MASK_ID] * num_new, MASK_ID, NOTHING)
    reuse = {"none": "none", "prefix_cache": "prefix", "dual_cache": "dual"}[sample.get("cache", "none")]
    view = FullView(network, network.new_canvas_cache(64), shift=name in SHIFTED, reuse=reuse)  # type: ignore[arg-type]
    for start in range(len(prompt), len(prompt) + num_new, block):
        run(denoise_span(view, canvas, start, start + block, rule))
    assert canvas.token_ids[len(prompt) :] == sample["output"]
    return None


@pytest.mark.parametrize(("name", "key"), samples("sdar", "llada2", "stable-diffcoder", "dream-reasoner"))
def test_block_causal_attention(name: str, key: str, networks: dict[str, Decoder]) -> None:
    check_block_causal(name, reference_samples(name)[key], networks[name])


def check_block_causal(name: str, sample: dict[str, Any], network: Decoder) -> None:
    prompt, size = sample["prompt"], sample["block_size"]
    offset = -len(prompt) % size if sample.get("left_padded") else 0
    view = BlockCausalView(network, network.new_canvas_cache(64), shift=False, block_size=size, offset=offset)
    total = len(prompt) + len(sample["output"])
    canvas = Canvas(list(prompt), MASK_ID, NOTHING)
    while view.prefill(canvas.token_ids, len(prompt)):
        pass
    while len(canvas.token_ids) < total:
        begin = len(canvas.token_ids)
        end = view.block_end(begin)
        canvas.token_ids += [MASK_ID] * (end - begin)
        run(denoise_span(view, canvas, max(end - size, 0), end, rule_of(sample), len(prompt)))
    assert canvas.token_ids[len(prompt) : total] == sample["output"]


@pytest.mark.parametrize(("name", "key"), samples("fast-dllm-v2"))
def test_shifted_blocks_and_parts_of_blocks(name: str, key: str, networks: dict[str, Decoder]) -> None:
    sample = reference_samples(name)[key]
    prompt, size, part = sample["prompt"], sample["block_size"], sample["sub_block"]
    network = networks[name]
    view = BlockCausalView(network, network.new_canvas_cache(64), shift=True, block_size=size)
    canvas = Canvas(list(prompt), MASK_ID, NOTHING)
    while view.prefill(canvas.token_ids, len(prompt)):
        pass
    while len(canvas.token_ids) < len(prompt) + len(sample["output"]):
        begin = len(canvas.token_ids)
        end = view.block_end(begin)
        canvas.token_ids += [MASK_ID] * (end - begin)
        first = view.next_token_logits()
        if begin % size == 0 and first is not None:
            canvas.write(begin, *next_token(first, NOTHING))
        for low in range(end - size, end, part):
            if low + part > begin:
                run(denoise_span(view, canvas, low, low + part, rule_of(sample)))
        view.finish(canvas.token_ids, end)
    assert canvas.token_ids[len(prompt) : len(prompt) + len(sample["output"])] == sample["output"]


@pytest.mark.parametrize(("name", "key"), samples("wedlm-qwen2", "wedlm-qwen3"))
def test_reordered_attention(name: str, key: str, networks: dict[str, Decoder]) -> None:
    sample = reference_samples(name)[key]
    network, size = networks[name], sample["block_size"]
    view = ReorderedView(network, network.new_canvas_cache(64), MASK_ID)
    canvas = Canvas(list(sample["prompt"]), MASK_ID, NOTHING)
    for _ in range(len(sample["output"]) // size):
        begin = len(canvas.token_ids)
        canvas.token_ids += [MASK_ID] * size
        run(denoise_span(view, canvas, begin, begin + size, rule_of(sample)))
    assert canvas.token_ids[len(sample["prompt"]) :] == sample["output"]


@pytest.mark.parametrize(("name", "key"), samples("dreamon"))
def test_a_hole_that_grows_and_shrinks(name: str, key: str, networks: dict[str, Decoder]) -> None:
    sample = reference_samples(name)[key]
    prefix, suffix, first = sample["prefix"], sample["suffix"], sample["first_canvas"]
    network = networks[name]
    canvas = Canvas([*prefix, *([MASK_ID] * first), *suffix], MASK_ID, NOTHING)
    view = FullView(network, network.new_canvas_cache(64), shift=True)
    lengths = Lengths(EXPAND_ID, frozenset([END_ID]), len(prefix), first, sample["budget"], sample["budget"])
    run(lengths.denoise(view, canvas, Rule(order=sample["order"])))
    assert canvas.token_ids[len(prefix) : len(canvas.token_ids) - len(suffix)] == sample["output"]


def test_every_diffusion_family_has_stored_samples() -> None:
    without = {name for name in CHECKPOINTS if not reference_samples(name)}
    assert without == {"llama", "qwen3"}, "the autoregressive bases alone have no published diffusion sampler"
