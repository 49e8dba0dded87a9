"""The decoding loops against the published samplers: the same greedy tokens from the same weights.

Stored samples come from the code named in each `reference.json`. Stable-DiffCoder and DreamReasoner have none that
could be run here: their sampler is written down below, plainly, over the whole sequence and without a cache.
"""

from __future__ import annotations

import math
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


@pytest.mark.parametrize(("name", "key"), samples("dream", "coda", "llada", "a2d-qwen2", "a2d-qwen3", "a2d-llama"))
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
    view = FullView(network, network.new_canvas_cache(64), shift=name in ("dream", "coda"), reuse=reuse)  # type: ignore[arg-type]
    for start in range(len(prompt), len(prompt) + num_new, block):
        run(denoise_span(view, canvas, start, start + block, rule))
    assert canvas.token_ids[len(prompt) :] == sample["output"]
    return None


@pytest.mark.parametrize(("name", "key"), samples("sdar", "llada2"))
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


@pytest.mark.parametrize("threshold", [None, 0.95, 0.12])
@pytest.mark.parametrize("prompt_length", [8, 11])
@pytest.mark.parametrize(("name", "size"), [("stable-diffcoder", 4), ("dream-reasoner", 8)])
def test_a_sampler_written_down_plainly(
    name: str, size: int, prompt_length: int, threshold: float | None, networks: dict[str, Decoder]
) -> None:
    network = networks[name]
    prompt = torch.randint(0, 256, (prompt_length,), generator=torch.Generator().manual_seed(4)).tolist()
    sample = {"prompt": prompt, "block_size": size, "order": "confidence", "schedule": "one", "threshold": threshold}
    sample["output"] = plain_block_sampler(network, prompt, 14, size, threshold)
    check_block_causal(name, sample, network)


def plain_block_sampler(
    network: Decoder, prompt: list[int], num_new: int, size: int, threshold: float | None
) -> list[int]:
    """Block diffusion as the papers tell it (Arriola et al. 2025; Stable-DiffCoder's README): a block is filled surest
    position first, or all positions above a threshold, from a forward over everything so far."""
    tokens = list(prompt)
    total = math.ceil((len(prompt) + num_new) / size) * size
    while len(tokens) < total:
        tokens += [MASK_ID] * (size - len(tokens) % size)
        block = range(len(tokens) - size, len(tokens))
        while any(tokens[i] == MASK_ID for i in block):
            row = torch.arange(len(tokens))
            sees = (row // size)[:, None] >= (row // size)[None]
            mask = torch.where(sees, 0.0, float("-inf"))
            window = network.new_canvas_cache(64).window(0, len(tokens))
            logits = network.logits(network.forward_canvas(torch.tensor(tokens), row, window, mask)).clone()
            logits[:, MASK_ID] = float("-inf")
            probability, choice = torch.softmax(logits.double(), -1).max(-1)
            open_ones = [i for i in block if tokens[i] == MASK_ID]
            sure = [i for i in open_ones if threshold is not None and probability[i] > threshold]
            for i in sure or [max(open_ones, key=lambda i: float(probability[i]))]:
                tokens[i] = int(choice[i])
    return tokens[len(prompt) : len(prompt) + num_new]
