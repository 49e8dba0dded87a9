"""The mask stage: no leakage of clean tokens, the base untouched, what is scored, learning, kept rows."""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.checkpoint import open_checkpoint
from model_runtime.diffusion.noise import NOT_ASKED, CanvasBlock, Marks, mask_block
from model_runtime.errors import Cancelled, CheckpointMismatch
from model_runtime.loading import Adapters, Placement
from model_runtime.loading import load_network as load_decoder
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.denoiser import Denoiser
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.export import export_run
from model_runtime.training.heal import load_network
from model_runtime.training.mask import KEPT_FOLDER, draft_figures, mask_loss, train_mask
from model_runtime.training.masked_blocks import BlockShape, draw_blocks, lay_out
from model_runtime.training.network import adapter_parameters
from model_runtime.training.objective import Sample
from model_runtime.training.runs import RunLimits
from model_runtime.training.samples import SampleMaker, SampleStream
from model_runtime.training.sequences import Sequences, draw_prompt, greedy_path, greedy_samples
from tests.training.denoising import CONFIG, IDS, Repeating, make_denoiser

SEED = 3


@pytest.fixture
def denoiser(tiny_base: Path) -> Denoiser:
    return make_denoiser(tiny_base)


def blocks_of(denoiser: Denoiser) -> list[CanvasBlock]:
    mask = denoiser.marks.mask
    return [mask_block(IDS, 2, (True, True, False, True), mask), mask_block(IDS, 5, (True, False, True), mask)]


def logits(denoiser: Denoiser, ids: tuple[int, ...], blocks: list[CanvasBlock]) -> torch.Tensor:
    with torch.no_grad():
        found, _ = denoiser(lay_out([ids], [blocks]))
    assert isinstance(found, torch.Tensor)
    return found


def test_a_row_is_asked_where_the_slot_behind_it_is_hidden(denoiser: Denoiser) -> None:
    canvas = lay_out([IDS], [blocks_of(denoiser)])
    assert canvas.positions.tolist() == [[3, 4, 5, 6, 6, 7, 8]]
    assert canvas.asked_rows.tolist() == [0, 2, 3, 5, 6]
    assert canvas.answers.tolist() == [IDS[4], IDS[6], IDS[7], IDS[8], IDS[9]]
    assert canvas.clean_rows.tolist() == [3, 5, 6, 7, 8]
    assert canvas.depths.tolist() == [0, 2, 3, 1, 2]


def test_canvas_rows_see_the_context_and_their_own_block_only(denoiser: Denoiser) -> None:
    canvas = lay_out([IDS], [blocks_of(denoiser)])
    mask = canvas.mask[0, 0]
    assert mask.shape == (7, len(IDS) + 7)
    for row in range(4):
        assert mask[row].nonzero()[:, 0].tolist() == [0, 1, 2, 12, 13, 14, 15]
    for row in range(4, 7):
        assert mask[row].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 16, 17, 18]


def test_hidden_and_later_tokens_do_not_leak(denoiser: Denoiser) -> None:
    block = blocks_of(denoiser)[:1]  # positions 3..6 behind anchor 2; 3, 4 and 6 hidden
    first = logits(denoiser, IDS, block)
    for hidden in (3, 4, 6, 7, 11):
        changed = (*IDS[:hidden], 40, *IDS[hidden + 1 :])
        rebuilt = [mask_block(changed, 2, (True, True, False, True), denoiser.marks.mask)]
        assert torch.equal(logits(denoiser, changed, rebuilt), first), hidden
    for visible in (0, 2, 5):
        changed = (*IDS[:visible], 40, *IDS[visible + 1 :])
        rebuilt = [mask_block(changed, 2, (True, True, False, True), denoiser.marks.mask)]
        assert not torch.allclose(logits(denoiser, changed, rebuilt), first), visible


def test_blocks_and_sequences_do_not_see_each_other(denoiser: Denoiser) -> None:
    blocks = blocks_of(denoiser)
    together = logits(denoiser, IDS, blocks)
    apart = torch.cat([logits(denoiser, IDS, blocks[:1]), logits(denoiser, IDS, blocks[1:])])
    assert torch.allclose(together, apart, atol=1e-4)
    longer = tuple(range(30, 50))
    other = [mask_block(longer, 10, (True,) * 6, denoiser.marks.mask)]
    with torch.no_grad():
        beside, teacher = denoiser(lay_out([IDS, longer], [blocks, other]))
        alone, alone_teacher = denoiser(lay_out([longer], [other]))
    assert torch.allclose(beside, torch.cat([together, alone]), atol=1e-4)
    assert torch.allclose(teacher.probs[len(together) :], alone_teacher.probs, atol=1e-5)


def test_clean_rows_are_the_base_exactly(denoiser: Denoiser, tiny_base: Path) -> None:
    base = load_network(tiny_base, "float32")
    with torch.no_grad():
        expected = base.run_layers(base.embed(torch.tensor([IDS])), torch.arange(len(IDS))[None])
    assert torch.equal(denoiser.clean_pass(torch.tensor([IDS])).states, expected)


def test_the_teacher_is_the_base_knowing_all_before(denoiser: Denoiser, tiny_base: Path) -> None:
    base = load_network(tiny_base, "float32")
    canvas = lay_out([IDS], [blocks_of(denoiser)])
    with torch.no_grad():
        _, teacher = denoiser(canvas)
        states = base.run_layers(base.embed(torch.tensor([IDS])), torch.arange(len(IDS))[None])[0]
        clean = base.logits(states)[canvas.clean_rows]
    clean[:, [denoiser.marks.mask, denoiser.marks.delete, denoiser.marks.insert]] = -torch.inf
    assert teacher.ids[:, 0].tolist() == clean.argmax(-1).tolist()
    assert torch.allclose(teacher.probs.sum(-1), torch.ones(len(clean)))


def test_gradient_reaches_adapter_and_mask_embedding_only(denoiser: Denoiser) -> None:
    before = {name: buffer.clone() for name, buffer in denoiser.named_buffers()}
    mask_loss(denoiser, IDS, blocks_of(denoiser), CONFIG).backward()
    parameters = denoiser.trainable()
    assert {id(p) for p in denoiser.parameters()} == {id(p) for p in parameters.values()}
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert all(torch.equal(buffer, before[name]) for name, buffer in denoiser.named_buffers())


def test_below_the_first_adapted_layer_nothing_learns(tiny_base: Path) -> None:
    config = replace(CONFIG, first_layer=1)
    denoiser = make_denoiser(tiny_base, config)
    mask_loss(denoiser, IDS, blocks_of(denoiser), config).backward()
    assert denoiser.mask_embedding.grad is None
    assert {name.split(".")[2] for name in adapter_parameters(denoiser.network)} == {"1", "2"}
    assert all(p.grad is not None for p in adapter_parameters(denoiser.network).values())


def test_a_masked_slot_begins_as_a_token_of_the_base(tiny_base: Path) -> None:
    network, marks = load_network(tiny_base, "float32"), make_denoiser(tiny_base).marks
    assert torch.equal(Denoiser(network, CONFIG, marks, mask_like=7).mask_embedding.data, network.embedding[7])
    assert torch.equal(Denoiser(network, CONFIG, marks).mask_embedding.data, network.embedding.mean(0))


def test_the_mask_is_never_an_answer(denoiser: Denoiser) -> None:
    found = logits(denoiser, IDS, blocks_of(denoiser))
    marks = denoiser.marks
    assert (found[:, [marks.mask, marks.delete, marks.insert]] == -torch.inf).all(), "no edit head yet"
    denoiser.attach_edit_head()
    found = logits(denoiser, IDS, blocks_of(denoiser))
    assert (found[:, marks.mask] == -torch.inf).all()
    assert found[:, [marks.delete, marks.insert]].isfinite().all()


@given(length=st.integers(4, 400), seed=st.integers(0, 10_000), data=st.data())
def test_drawn_blocks_fit(length: int, seed: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, length - 3))
    ids = tuple(range(length))
    for block in draw_blocks(ids, first, 5, 1000, random.Random(seed)):
        assert first <= block.anchor
        assert 1 <= block.size <= BlockShape().max_size
        assert block.anchor + block.size + 1 < length, "every row has a next token"
        assert 1000 in block.shown
        assert block.answers[-1] == ids[block.anchor + block.size + 1]
        for i, answer in enumerate(block.answers[:-1]):
            assert answer == (ids[block.anchor + i + 2] if block.shown[i + 1] == 1000 else NOT_ASKED)


def test_block_sizes_cover_the_range() -> None:
    blocks = draw_blocks(tuple(range(400)), 0, 2000, 1000, random.Random(0))
    sizes = sorted({block.size for block in blocks})
    assert sizes[0] <= 4 and sizes[-1] == BlockShape().max_size
    whole = sum(set(block.shown) == {1000} for block in blocks) / len(blocks)
    assert 0.45 < whole < 0.75


def test_training_learns_to_draft_what_it_sees(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=40, rank=4, alpha=8.0, learning_rate=2e-2)
    denoiser = make_denoiser(tiny_base, config, is_fresh=True)
    sample = Sample(IDS * 4, 8, "prefix_first/multi")
    sequences = Repeating(sample)
    trainer = train_mask(denoiser, sequences, [sample], config, tmp_path / "run", RunLimits(), lambda m: None)
    losses = trainer.progress.losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert trainer.progress.held_out[-1][1] < trainer.progress.held_out[0][1]
    after = draft_figures(denoiser, [sample], 8, seed=1)
    assert after.blocks == 8
    assert 0 <= after.first_row_agrees <= 1 and 0 <= after.extra_tokens <= 7


def test_rows_deep_in_a_block_count_less(denoiser: Denoiser) -> None:
    block = [mask_block(IDS, 2, (True,) * 4, denoiser.marks.mask)]
    whole = mask_loss(denoiser, IDS, block, CONFIG)
    first_only = mask_loss(denoiser, IDS, block, replace(CONFIG, depth_decay=1e-9))
    with torch.no_grad():
        found, teacher = denoiser(lay_out([IDS], [block]))
    expected = -found.log_softmax(-1)[0, IDS[4]]
    divergence = (teacher.probs[0] * (teacher.probs[0].log() - found.log_softmax(-1)[0, teacher.ids[0]])).sum()
    assert float(first_only.detach()) == pytest.approx(float(expected + divergence), rel=1e-4)
    assert float(whole.detach()) != pytest.approx(float(first_only.detach()), rel=1e-3)


def test_a_stopped_run_resumes_exactly(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    stream = SampleStream(sources, maker, CONFIG.mixture, seed=0)

    def run(folder: str, steps: int) -> list[float]:
        config = replace(CONFIG, steps=steps, warmup_steps=10)  # all in warm-up: the rate does not depend on steps
        denoiser = make_denoiser(tiny_base, config, is_fresh=True)
        sequences = Sequences(stream, [], 0.0, SEED)
        trainer = train_mask(denoiser, sequences, [], config, tmp_path / folder, RunLimits(), lambda m: None)
        return trainer.progress.losses

    run("cut", 2)
    assert run("cut", 4) == run("whole", 4)


def test_kept_rows_train_like_fresh_ones(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    """Three sequences over two epochs: the second reads what the first wrote, and a stop in between changes nothing."""
    stream = SampleStream(sources, maker, CONFIG.mixture, seed=0)

    def run(folder: str, steps: int, kept: int) -> list[float]:
        config = replace(CONFIG, steps=steps, warmup_steps=10, first_layer=1, sequences_per_step=1, kept_sequences=kept)
        denoiser = make_denoiser(tiny_base, config, is_fresh=True)
        sequences = Sequences(stream, [], 0.0, SEED)
        trainer = train_mask(denoiser, sequences, [], config, tmp_path / folder, RunLimits(), lambda m: None)
        return trainer.progress.losses

    fresh = run("fresh", 3, 0)
    kept = run("kept", 6, 3)
    assert kept[:3] == pytest.approx(fresh, abs=1e-4)
    assert len(list((tmp_path / "kept" / KEPT_FOLDER).glob("*.safetensors"))) == 3
    run("cut", 4, 3)
    stale = next((tmp_path / "cut" / KEPT_FOLDER).glob("*.safetensors"))
    other = next(p for p in (tmp_path / "cut" / KEPT_FOLDER).glob("*.safetensors") if p != stale)
    other.replace(stale)  # a file of another sequence is noticed and made anew
    assert run("cut", 6, 3) == kept


def test_nothing_is_kept_below_layer_zero(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, kept_sequences=2)
    with pytest.raises(CheckpointMismatch, match="starts at layer 0"):
        train_mask(make_denoiser(tiny_base), Repeating(Sample(IDS, 2, "a")), [], config, tmp_path, RunLimits(), print)


def test_greedy_text_is_the_bases_and_goes_on_after_a_stop(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    stream = SampleStream(sources, maker, CONFIG.mixture, seed=0)
    network = load_network(tiny_base, "float32")

    def write(folder: str, count: int) -> list[Sample]:
        return greedy_samples(network, stream, [], count, 8, greedy_path(tmp_path / folder, ""), lambda m: None)

    whole = write("whole", 34)  # more than one batch
    assert len(whole) == 34 and {s.kind for s in whole} >= {"greedy/plain"}
    lines = greedy_path(tmp_path / "whole", "").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    greedy_path(tmp_path / "cut", "").write_bytes(b"".join(lines[:32]) + lines[32][:20])

    def interrupt(message: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert greedy_path(tmp_path, "") != greedy_path(tmp_path, "ab" * 32), "another base, another file"
    with pytest.raises(Cancelled, match="32 of 34"):
        greedy_samples(network, stream, [], 34, 8, greedy_path(tmp_path / "killed", ""), interrupt)
    assert write("cut", 34) == write("killed", 34) == whole
    assert [json.loads(line)[0] for line in lines] == [list(s.ids) for s in whole]
    for number, sample in enumerate(whole[:3]):
        prompt = draw_prompt(stream, number)
        assert sample.ids[: sample.prompt_length] == prompt.ids
        ids = torch.tensor([sample.ids])
        with torch.no_grad():
            states = network.run_layers(network.embed(ids), torch.arange(ids.shape[1])[None])[0]
        chosen = network.logits(states).argmax(-1).tolist()
        assert list(sample.ids[sample.prompt_length :]) == chosen[sample.prompt_length - 1 : -1]


def test_a_canvas_in_training_is_a_canvas_in_decoding(tiny_base: Path, tmp_path: Path) -> None:
    """One definition: the decoder's network with the exported adapter gives the logits that training saw."""
    config = replace(CONFIG, steps=2)
    denoiser = make_denoiser(tiny_base, config)
    train_mask(denoiser, Repeating(Sample(IDS * 3, 4, "a")), [], config, tmp_path / "run", RunLimits(), lambda m: None)
    export_run(tmp_path / "run", tmp_path / "mask.safetensors", {"name": "tiny", "digest": "0" * 64})
    from model_runtime.adapters import read_adapter

    adapter = read_adapter(tmp_path / "mask.safetensors")
    with open_checkpoint(tiny_base) as checkpoint:
        placement = Placement(torch.device("cpu"), "float32")
        decoder = load_decoder(checkpoint, placement, num_positions=64, adapters=Adapters(mask=adapter))
    block = mask_block(IDS, 4, (True, False, True, True), denoiser.marks.mask)
    shown = torch.tensor([*IDS[:5], *block.shown])
    states = decoder.forward(shown, decoder.new_cache(32), num_canvas=4)
    expected = decoder.logits(states[[6, 7, 8]])
    found = logits(denoiser, IDS, [block])
    ordinary = [token for token in range(denoiser.network.config.vocab_size) if token < denoiser.marks.mask]
    assert torch.allclose(found[:, ordinary], expected[:, ordinary], atol=0.05), "up to 8-bit factors"
    fresh = make_denoiser(tiny_base, config, is_fresh=True)
    assert not torch.allclose(found[:, ordinary], logits(fresh, IDS, [block])[:, ordinary], atol=0.05)
    clean = decoder.logits(decoder.forward(torch.tensor(IDS), decoder.new_cache(32)))
    own = denoiser.network.logits(denoiser.clean_pass(torch.tensor([IDS])).states[0])
    assert torch.allclose(own, clean, atol=1e-4)


def test_marks_need_a_vocabulary_that_has_them(tokenizer: object) -> None:
    class Bare:
        def token_id(self, name: str) -> int | None:
            return None if name == "<|insert|>" else 7

    with pytest.raises(CheckpointMismatch, match="insert"):
        Marks.of(Bare())  # type: ignore[arg-type]


def test_configurations_survive_json(tiny_base: Path) -> None:
    config = DenoiserConfig(earlier=("mask",), shape=BlockShape(2, 5))
    assert json.loads(json.dumps(config.to_dict()))["shape"] == {
        "min_size": 2,
        "max_size": 5,
        "all_masked_share": 0.5,
    }
