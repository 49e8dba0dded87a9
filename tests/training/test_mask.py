"""The mask stage: no leakage of clean tokens, the base untouched, what is scored, learning."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.checkpoint import open_checkpoint
from model_runtime.errors import CheckpointMismatch
from model_runtime.loading import Placement
from model_runtime.loading import load_network as load_decoder
from model_runtime.training.config import TrainConfig
from model_runtime.training.data.fim import ContextWidths
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.heal import RunLimits, load_network
from model_runtime.training.mask import MaskDenoiser, draft_figures, mask_loss, train_mask
from model_runtime.training.masked_blocks import MAX_BLOCK, Block, draw_blocks, lay_out
from model_runtime.training.objective import Sample
from model_runtime.training.samples import Mixture, SampleMaker, SampleStream

CONFIG = TrainConfig(
    steps=3,
    first_layer=0,
    rank=2,
    alpha=4.0,
    precision="float32",
    learning_rate=1e-2,
    warmup_steps=1,
    mixture=Mixture(widths=ContextWidths(max_prefix=30, max_suffix=20)),
)
IDS = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
BLOCKS = [Block(2, (True, True, False, True)), Block(5, (True, False, True))]


@pytest.fixture
def denoiser(tiny_base: Path) -> MaskDenoiser:
    """A denoiser whose adapter already does something."""
    denoiser = MaskDenoiser(load_network(tiny_base, "float32"), CONFIG)
    with torch.no_grad():
        for name, parameter in denoiser.trainable().items():
            if name.endswith("lora_b"):
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    return denoiser


def logits(denoiser: MaskDenoiser, ids: tuple[int, ...], blocks: list[Block]) -> torch.Tensor:
    caches, _ = denoiser.clean_pass(ids)
    with torch.no_grad():
        return denoiser.canvas_logits(caches, lay_out(ids, blocks))


def test_layout_scores_masked_rows_one_position_on() -> None:
    canvas = lay_out(IDS, BLOCKS)
    assert canvas.positions.tolist() == [[3, 4, 5, 6, 6, 7, 8]]
    assert canvas.scored_rows.tolist() == [0, 1, 3, 4, 6]
    assert canvas.targets.tolist() == [IDS[4], IDS[5], IDS[7], IDS[7], IDS[9]]
    assert canvas.teacher_rows.tolist() == [3, 4, 6, 6, 8]


def test_canvas_rows_see_the_context_and_their_own_block_only() -> None:
    canvas = lay_out(IDS, BLOCKS)
    mask = canvas.mask[0, 0]
    assert mask.shape == (7, len(IDS) + 7)
    for row in range(4):
        assert mask[row].nonzero()[:, 0].tolist() == [0, 1, 2, 12, 13, 14, 15]
    for row in range(4, 7):
        assert mask[row].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 16, 17, 18]


def test_hidden_and_later_tokens_do_not_leak(denoiser: MaskDenoiser) -> None:
    first = logits(denoiser, IDS, BLOCKS[:1])  # positions 3..6 behind anchor 2; 3, 4 and 6 hidden
    for hidden in (3, 4, 6, 7, 11):
        changed = (*IDS[:hidden], 40, *IDS[hidden + 1 :])
        assert torch.equal(logits(denoiser, changed, BLOCKS[:1]), first), hidden
    for visible in (0, 2, 5):
        changed = (*IDS[:visible], 40, *IDS[visible + 1 :])
        assert not torch.allclose(logits(denoiser, changed, BLOCKS[:1]), first), visible


def test_blocks_do_not_see_each_other(denoiser: MaskDenoiser) -> None:
    together = logits(denoiser, IDS, BLOCKS)
    apart = torch.cat([logits(denoiser, IDS, BLOCKS[:1]), logits(denoiser, IDS, BLOCKS[1:])])
    assert torch.allclose(together, apart, atol=1e-4)


def test_clean_rows_are_the_base_exactly(denoiser: MaskDenoiser, tiny_base: Path) -> None:
    base = load_network(tiny_base, "float32")
    with torch.no_grad():
        expected = base.run_layers(base.embed(torch.tensor([IDS])), torch.arange(len(IDS))[None])[0]
    assert torch.equal(denoiser.clean_pass(IDS)[1], expected)


def test_gradient_reaches_adapter_and_mask_embedding_only(denoiser: MaskDenoiser) -> None:
    before = {name: buffer.clone() for name, buffer in denoiser.named_buffers()}
    mask_loss(denoiser, IDS, BLOCKS).backward()
    parameters = denoiser.trainable()
    assert {id(p) for p in denoiser.parameters()} == {id(p) for p in parameters.values()}
    last_values = "model.layers.2.self_attn"
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.startswith(last_values), name
    assert all(torch.equal(buffer, before[name]) for name, buffer in denoiser.named_buffers())


@given(length=st.integers(4, 400), seed=st.integers(0, 10_000), data=st.data())
def test_drawn_blocks_fit(length: int, seed: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, length - 3))
    blocks = draw_blocks(length, first, 5, random.Random(seed))
    for block in blocks:
        assert first <= block.anchor
        assert 1 <= block.size <= MAX_BLOCK
        assert block.anchor + block.size + 1 < length, "every row has a next token"
        assert any(block.is_masked)


def test_block_sizes_cover_the_range() -> None:
    blocks = draw_blocks(400, 0, 2000, random.Random(0))
    sizes = sorted({block.size for block in blocks})
    assert sizes[0] <= 4 and sizes[-1] == MAX_BLOCK
    whole = sum(all(block.is_masked) for block in blocks) / len(blocks)
    assert 0.45 < whole < 0.75


def test_training_learns_to_draft_what_it_sees(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    config = replace(CONFIG, steps=40, rank=4, learning_rate=2e-2)
    denoiser = MaskDenoiser(load_network(tiny_base, "float32"), config)
    sample = Sample(IDS * 4, 8, "prefix_first/multi")

    class Repeating:
        def draw(self, rng: random.Random) -> Sample:
            return sample

    before = draft_figures(denoiser, [sample], 8, seed=1)
    trainer = train_mask(
        denoiser,
        Repeating(),
        [sample],
        config,
        tmp_path / "run",
        RunLimits(),
        lambda m: None,  # type: ignore[arg-type]
    )
    losses = trainer.progress.losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    after = draft_figures(denoiser, [sample], 8, seed=1)
    assert after.blocks == before.blocks == 8
    assert 0 <= after.first_row_agrees <= 1 and 0 <= after.extra_tokens <= 7


def test_a_stopped_run_resumes_exactly(
    tiny_base: Path, sources: list[SourceFile], maker: SampleMaker, tmp_path: Path
) -> None:
    stream = SampleStream(sources, maker, CONFIG.mixture, seed=0)

    def run(folder: str, steps: int) -> list[float]:
        config = replace(CONFIG, steps=steps, warmup_steps=10)  # all in warm-up: the rate does not depend on steps
        denoiser = MaskDenoiser(load_network(tiny_base, "float32"), config)
        return train_mask(denoiser, stream, [], config, tmp_path / folder, RunLimits(), lambda m: None).progress.losses

    run("cut", 2)
    assert run("cut", 4) == run("whole", 4)


def test_an_adapter_above_the_bottom_is_refused(tiny_base: Path) -> None:
    with pytest.raises(CheckpointMismatch, match="from layer 1 on"):
        MaskDenoiser(load_network(tiny_base, "float32"), replace(CONFIG, first_layer=1))


def test_a_canvas_in_training_is_a_canvas_in_decoding(tiny_base: Path) -> None:
    """One definition: the same rows give the same logits in the decoder's network and in the training network."""
    with open_checkpoint(tiny_base) as checkpoint:
        config = checkpoint.config
        decoder = load_decoder(checkpoint, Placement(torch.device("cpu"), "float32"), num_positions=64)
    assert config.mask_token_id is not None
    denoiser = MaskDenoiser(load_network(tiny_base, "float32"), CONFIG)  # a fresh adapter changes nothing
    with torch.no_grad():
        denoiser.mask_embedding.copy_(denoiser.network.embedding[config.mask_token_id])
    block = Block(4, (True, False, True, True))
    shown = [*IDS[:5], config.mask_token_id, IDS[6], config.mask_token_id, config.mask_token_id]
    states = decoder.forward(torch.tensor(shown), decoder.new_cache(32), num_canvas=4)
    expected = decoder.logits(states[[5, 7, 8]])
    assert torch.allclose(logits(denoiser, IDS, [block]), expected, atol=1e-4)
    clean = decoder.logits(decoder.forward(torch.tensor(IDS), decoder.new_cache(32)))
    found = denoiser.network.logits(denoiser.clean_pass(IDS)[1])
    assert torch.allclose(found, clean, atol=1e-4)
