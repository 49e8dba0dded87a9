"""The objective itself: what is scored, what may be seen, where gradient goes."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_runtime.checkpoint import open_checkpoint
from model_runtime.prompts import infill_ids
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.config import TrainConfig
from model_runtime.training.data.edits import EditPair
from model_runtime.training.data.fim import ContextWidths, Hole
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.evaluate import decode_greedy
from model_runtime.training.heal import batch_losses, frozen_states, load_network, prepare_network
from model_runtime.training.network import TrainingNetwork, adapter_parameters
from model_runtime.training.objective import MIN_SHARED, Sample, pack, packed_length
from model_runtime.training.samples import Mixture, SampleMaker, SampleStream

CONFIG = TrainConfig(steps=4, first_layer=1, rank=2, alpha=4.0, precision="float32", batch_tokens=160)
HOLE = Hole("def f(x):\n    return ", "x + 1", "\n\nf(2)\n", "mid_line", "python")


def test_only_hole_and_end_token_are_scored(maker: SampleMaker, tokenizer: Tokenizer) -> None:
    sample = maker.infill(HOLE, suffix_first=False)
    other = maker.infill(replace(HOLE, prefix="class A:\n    x = "), suffix_first=False)
    batch = pack([sample, other])
    learned = [*tokenizer.encode(HOLE.middle), tokenizer.token_id("<|endoftext|>")]
    assert batch.targets.tolist() == learned * 2
    # The row before each scored token is the one that predicts it.
    read = [tokenizer.token_id("<|fim_middle|>"), *learned[:-1]]
    assert batch.ids[0, batch.rows].tolist() == read * 2


def test_both_layouts_are_the_decoders(maker: SampleMaker, tokenizer: Tokenizer) -> None:
    target = [*tokenizer.encode(HOLE.middle), tokenizer.token_id("<|endoftext|>")]
    prefix, suffix = tokenizer.encode(HOLE.prefix), tokenizer.encode(HOLE.suffix)
    for suffix_first, layout in ((False, "prefix-first"), (True, "suffix-first")):
        sample = maker.infill(HOLE, suffix_first=suffix_first)
        prompt = infill_ids(tokenizer, prefix, suffix, layout=layout)  # type: ignore[arg-type]
        assert list(sample.ids) == prompt + target
        assert sample.prompt_length == len(prompt)


def test_special_names_in_code_stay_text(maker: SampleMaker, tokenizer: Tokenizer) -> None:
    pair = EditPair("Rename `<|im_end|>`.", "x = '<|endoftext|>'\n", "y = '<|fim_middle|>'\n", "rename")
    sample = maker.edit(pair)
    end = tokenizer.token_id("<|im_end|>")
    assert sample.ids[sample.prompt_length :].count(end) == 1 and sample.ids[-1] == end
    assert tokenizer.token_id("<|endoftext|>") not in sample.ids
    assert tokenizer.decode(sample.ids[sample.prompt_length :]) == "y = '<|fim_middle|>'\n```", "as decoded"


def test_the_network_is_the_published_architecture(tiny_base: Path) -> None:
    import pytest

    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    network = load_network(tiny_base, "float32")
    ids = torch.arange(40)[None] % network.config.vocab_size
    with torch.no_grad():
        expected = reference(ids).logits[0]
        found = network.logits(network.run_layers(network.embed(ids), torch.arange(40)[None])[0])
    assert torch.allclose(found, expected, atol=2e-4)


def test_packed_samples_do_not_see_each_other(tiny_base: Path) -> None:
    network = load_network(tiny_base, "float32")
    one, two = Sample((5, 6, 7, 8, 9), 2, "a"), Sample((11, 12, 13, 14), 1, "b")
    other = Sample((21, 22, 23, 24, 25), 2, "a")
    with torch.no_grad():
        together = batch_losses(network, pack([one, two]), 1)
        alone = torch.cat([batch_losses(network, pack([one]), 1), batch_losses(network, pack([two]), 1)])
        changed = batch_losses(network, pack([other, two]), 1)
    assert torch.allclose(together, alone, atol=1e-4)
    assert torch.allclose(together[3:], changed[3:], atol=1e-4)


@given(lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(2, 12)), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_that_begin_alike_share_rows_and_nothing_else(lengths: list[tuple[int, int]], tiny_base: Path) -> None:
    network = load_network(tiny_base, "float32")
    samples = [
        Sample((*range(3, 3 + common), *range(100 + 20 * i, 100 + 20 * i + own)), max(1, common - 2), "a")
        for i, (common, own) in enumerate(lengths)
    ]
    batch = pack(samples)
    with torch.no_grad():
        together = batch_losses(network, batch, 1)
        alone = torch.cat([batch_losses(network, pack([sample]), 1) for sample in samples])
    assert torch.allclose(together, alone, atol=1e-4)
    assert batch.ids.shape[1] == packed_length(samples)
    commons = [common for common, _ in lengths]
    shared = sum(both for pair in pairwise(commons) if (both := min(pair)) >= MIN_SHARED)
    assert packed_length(samples) == sum(len(sample.ids) - 1 for sample in samples) - shared


def test_a_scored_token_cannot_see_itself_or_later(tiny_base: Path) -> None:
    network = load_network(tiny_base, "float32")
    with torch.no_grad():
        first = batch_losses(network, pack([Sample((5, 6, 7, 8, 9), 1, "a")]), 1)
        changed = batch_losses(network, pack([Sample((5, 6, 7, 8, 30), 1, "a")]), 1)
    assert torch.equal(first[:3], changed[:3])
    assert first[3] != changed[3]


def test_gradient_reaches_the_adapter_and_nothing_else(tiny_base: Path) -> None:
    network = prepare_network(tiny_base, CONFIG)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    parameters = adapter_parameters(network)
    with torch.no_grad():  # B starts at zero, which would hide A's gradient
        for parameter in parameters.values():
            parameter.add_(0.05)
    batch_losses(network, pack([Sample((5, 6, 7, 8, 9), 2, "a")]), CONFIG.first_layer).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters.values())
    assert {id(p) for p in network.parameters()} == {id(p) for p in parameters.values()}
    assert all(not b.requires_grad and torch.equal(b, before[n]) for n, b in network.named_buffers())
    layers = {name.split(".")[2] for name in parameters}
    assert layers == {"1", "2"}


def test_a_fresh_adapter_changes_nothing(tiny_base: Path) -> None:
    batch = pack([Sample((5, 6, 7, 8, 9), 2, "a")])
    with torch.no_grad():
        assert torch.equal(
            batch_losses(prepare_network(tiny_base, CONFIG), batch, 1),
            batch_losses(load_network(tiny_base, "float32"), batch, 1),
        )


def test_cached_frozen_states_give_the_same_loss(tiny_base: Path) -> None:
    network = prepare_network(tiny_base, CONFIG)
    batch = pack([Sample((5, 6, 7, 8, 9), 2, "a")])
    states = frozen_states(network, batch, CONFIG.first_layer)
    assert not states.requires_grad
    assert torch.equal(batch_losses(network, batch, 1, states), batch_losses(network, batch, 1))


def test_the_stream_is_a_function_of_seed_and_number(sources: list[SourceFile], maker: SampleMaker) -> None:
    mixture = Mixture(widths=ContextWidths(max_prefix=40, max_suffix=20))
    stream = SampleStream(sources, maker, mixture, seed=7)
    later_first = stream.batch(5, 300)
    assert stream.batch(5, 300) == later_first == SampleStream(sources, maker, mixture, seed=7).batch(5, 300)
    assert stream.batch(6, 300) != later_first
    assert SampleStream(sources, maker, mixture, seed=8).batch(5, 300) != later_first
    assert sum(len(sample.ids) for sample in later_first) <= 300 or len(later_first) == 1


def test_a_family_shares_end_and_suffix(sources: list[SourceFile], maker: SampleMaker) -> None:
    widths = ContextWidths(min_prefix=30, max_prefix=60, min_suffix=10, max_suffix=20)
    mixture = Mixture(edit_share=0.0, suffix_first_share=1.0, relatives=4, widths=widths)
    batch = SampleStream(sources, maker, mixture, seed=7).batch(1, 2000)
    alone = SampleStream(sources, maker, replace(mixture, relatives=0), seed=7).batch(1, 2000)
    assert packed_length(batch) <= 2000 and len(batch) > 2 * len(alone)
    marks = [maker.tokenizer.token_id(f"<|fim_{name}|>") for name in ("suffix", "prefix")]
    for sample in batch:
        assert sample.ids[0] == marks[0] and sample.ids.count(marks[1]) == 1
    assert len({sample.ids for sample in batch}) > 2 * len(alone), "relatives are other holes, not copies"


def test_the_mixture_is_what_it_says(sources: list[SourceFile], maker: SampleMaker) -> None:
    stream = SampleStream(sources, maker, Mixture(widths=ContextWidths(max_prefix=40, max_suffix=20)), seed=0)
    rng = random.Random(0)
    kinds = [stream.draw(rng).kind for _ in range(300)]
    edits = kinds.count("edit") / len(kinds)
    suffix_first = sum(kind.startswith("suffix_first") for kind in kinds) / (len(kinds) - kinds.count("edit"))
    assert 0.1 < edits < 0.3
    assert 0.2 < suffix_first < 0.4


def test_batched_decoding_equals_decoding_alone(tiny_base: Path) -> None:
    with open_checkpoint(tiny_base) as checkpoint:
        network = TrainingNetwork(checkpoint, torch.float32)
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12], [40]]
    together = decode_greedy(network, prompts, [2], [6, 9, 3])
    alone = [decode_greedy(network, [p], [2], [limit])[0] for p, limit in zip(prompts, [6, 9, 3], strict=True)]
    assert together == alone
    assert [len(answer) <= limit for answer, limit in zip(together, [6, 9, 3], strict=True)] == [True] * 3
