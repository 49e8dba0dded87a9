"""Retention: ordinary text is drawn as prompts and chat answers, and its loss holds the adapter near the base."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model_runtime.adapters import read_adapter
from model_runtime.errors import CheckpointMismatch
from model_runtime.prompts import chat_ids
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.config import TrainConfig
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.export import export_run
from model_runtime.training.heal import (
    RunLimits,
    frozen_states,
    heal,
    held_out_drift,
    load_network,
    plain_drift,
    prepare_network,
    start_from,
)
from model_runtime.training.objective import Sample, pack
from model_runtime.training.retention import UNSCORED_TOKENS, cut_text, drift, plain_samples
from model_runtime.training.samples import Mixture, SampleMaker, SampleStream
from tests.training.conftest import PYTHON_TEXT

CONFIG = TrainConfig(
    steps=8, first_layer=1, rank=2, alpha=4.0, precision="float32", batch_tokens=160, plain_tokens=120, warmup_steps=1
)


def test_ordinary_text_has_no_end_token_and_keeps_the_budget(sources: list[SourceFile], tokenizer: Tokenizer) -> None:
    ends = {tokenizer.token_id("<|endoftext|>"), tokenizer.token_id("<|fim_middle|>")}
    kinds = set()
    for seed in range(30):
        samples = plain_samples(sources, tokenizer, random.Random(seed), 200)
        assert sum(len(sample.ids) for sample in samples[:-1]) <= 200
        for sample in samples:
            kinds.add(sample.kind)
            assert not ends & set(sample.ids)
            if sample.kind == "plain":
                text = tokenizer.decode(list(sample.ids))
                assert sample.prompt_length == UNSCORED_TOKENS and any(text[:40] in s.text for s in sources)
            else:
                assert list(sample.ids[:3]) == chat_ids(tokenizer, "", "")[:3], "the chat layout opens as the decoder's"
    assert kinds == {"plain", "chat"}


def test_text_is_cut_where_prompts_end(sources: list[SourceFile], tokenizer: Tokenizer) -> None:
    """A line's last characters without the newline that usually joins them: what a prompt shows at its end."""
    apart = line_ends = cuts = 0
    for seed in range(20):
        parts = cut_text(PYTHON_TEXT, random.Random(seed))
        assert "".join(parts) == PYTHON_TEXT and all(parts)
        cuts += len(parts) - 1
        line_ends += sum(part.startswith("\n") for part in parts[1:])
        for sample in plain_samples(sources, tokenizer, random.Random(seed), 300):
            apart += len(tokenizer.encode(tokenizer.decode(list(sample.ids)))) < len(sample.ids)
    assert 0.5 < line_ends / cuts < 0.9
    assert apart > 3, "encoded in one piece, text has the fewest tokens"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_drift_without_training_and_gradient_only_into_the_adapter(tiny_base: Path, precision: str) -> None:
    network = prepare_network(tiny_base, replace(CONFIG, precision=precision))
    batch = pack([Sample(tuple(range(5, 40)), 4, "plain")])
    states = frozen_states(network, batch, CONFIG.first_layer)
    divergence, same = drift(network, batch, CONFIG.first_layer, states)
    assert divergence.abs().max() < 1e-6 and bool(same.all())
    with torch.no_grad():
        for _, linear in network.adapted_linears():
            assert linear.lora_b is not None
            linear.lora_b.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    divergence, same = drift(network, batch, CONFIG.first_layer, states)
    assert divergence.min() > 0 and not bool(same.all())
    torch.autograd.backward(divergence.mean())
    assert all(p.grad is not None for _, linear in network.adapted_linears() for p in linear.parameters())


def test_the_base_side_is_the_base(tiny_base: Path) -> None:
    """Against a network that never had an adapter, not against the code under test."""
    network, base = prepare_network(tiny_base, CONFIG), load_network(tiny_base, "float32")
    with torch.no_grad():
        for _, linear in network.adapted_linears():
            assert linear.lora_b is not None
            linear.lora_b.fill_(0.05)
        batch = pack([Sample(tuple(range(5, 30)), 4, "plain")])
        states = frozen_states(network, batch, CONFIG.first_layer)
        divergence, _ = drift(network, batch, CONFIG.first_layer, states)
        logs = [
            torch.log_softmax(net.logits(net.run_layers(net.embed(batch.ids), batch.positions, batch.mask)[0]), -1)
            for net in (base, network)
        ]
    wanted = (logs[0].exp() * (logs[0] - logs[1])).sum(-1)[batch.rows]
    assert torch.allclose(divergence, wanted, atol=1e-5)


def test_training_with_retention_drifts_less(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    config = replace(CONFIG, learning_rate=2e-2)
    stream = SampleStream(sources, maker, Mixture(), config.seed)
    unseen = stream.plain(1000, 400)
    drifts = {}
    for tokens in (0, 120):
        network = prepare_network(tiny_base, config)
        chosen = replace(config, plain_tokens=tokens, plain_weight=20.0)
        trainer = heal(
            network, stream, stream.batch(900, 150), chosen, tmp_path / str(tokens), RunLimits(), lambda message: None
        )
        drifts[tokens] = held_out_drift(network, unseen, config)["divergence"]
        assert len(trainer.progress.drifts) == (8 if tokens else 0)
    assert drifts[120] < 0.7 * drifts[0], drifts


def test_a_run_starts_from_an_exported_adapter(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    stream = SampleStream(sources, maker, Mixture(), 1)
    network = prepare_network(tiny_base, CONFIG)
    config = replace(CONFIG, learning_rate=1e-2)
    heal(network, stream, stream.batch(900, 150), config, tmp_path / "run", RunLimits(), lambda message: None)
    export_run(tmp_path / "run", tmp_path / "healing.safetensors", {"name": "tiny", "digest": "0" * 64})
    adapter = read_adapter(tmp_path / "healing.safetensors")
    fresh = prepare_network(tiny_base, replace(CONFIG, seed=9))
    start_from(fresh, adapter)
    before, after = (float(plain_drift(net, stream, 3, CONFIG).detach()) for net in (network, fresh))
    assert before > 1e-4 and after == pytest.approx(before, rel=0.1), "the same adapter, up to 8-bit rounding"
    with pytest.raises(CheckpointMismatch, match="rank 2"):
        start_from(prepare_network(tiny_base, replace(CONFIG, rank=4)), adapter)
    with pytest.raises(CheckpointMismatch, match="other layers"):
        start_from(prepare_network(tiny_base, replace(CONFIG, first_layer=2)), adapter)
