"""Stages order and onpolicy: trajectories, what the base thinks of them, what is learned from them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.diffusion.noise import NOT_ASKED
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.brackets import BracketCheck, bracket_errors
from model_runtime.training.denoiser import CleanPass, Denoiser
from model_runtime.training.edit_distance import edit_distance, mean_pair_distance
from model_runtime.training.heal import load_network
from model_runtime.training.masked_blocks import BlockShape
from model_runtime.training.objective import Sample
from model_runtime.training.onpolicy import (
    advantages,
    committed_steps,
    policy_loss,
    reward,
    steps_curve,
    train_onpolicy,
)
from model_runtime.training.order import best_of, steps_to_learn, train_order
from model_runtime.training.runs import RunLimits
from model_runtime.training.trajectories import Pace, Trajectory, base_log_probs, denoise_blocks
from tests.training.denoising import CONFIG, IDS, Repeating, make_denoiser

PLACES = [(3, 6), (5, 4), (11, 5)]
STAGE = replace(CONFIG, stage="order", shape=BlockShape(4, 6), blocks_per_sequence=2, trajectories=3)


@pytest.fixture
def denoiser(tiny_base: Path) -> Denoiser:
    return make_denoiser(tiny_base)


def clean_of(denoiser: Denoiser) -> CleanPass:
    return denoiser.clean_pass(torch.tensor([IDS]))


def sample_some(denoiser: Denoiser, pace: Pace, temperature: float = 0.7, seed: int = 0) -> list[Trajectory]:
    generator = torch.Generator().manual_seed(seed)
    return denoise_blocks(denoiser, IDS, clean_of(denoiser), PLACES, [pace] * 3, temperature, generator)


def keeps_all(context: Sequence[int], block: Sequence[int]) -> bool:
    return False


@pytest.mark.parametrize("pace", [Pace(0.9), Pace(0.0), Pace(num_steps=2), Pace(num_steps=20)])
def test_trajectories_go_from_masks_to_text_and_never_back(denoiser: Denoiser, pace: Pace) -> None:
    mask, trajectories = denoiser.marks.mask, sample_some(denoiser, pace)
    free = denoiser.network.logits(clean_of(denoiser).states[0]).argmax(-1)
    for (anchor, size), trajectory in zip(PLACES, trajectories, strict=True):
        assert trajectory.states[0] == (mask,) * size
        assert mask not in trajectory.tokens
        assert trajectory.tokens[0] == trajectory.states[1][0] == free[anchor], "slot 0 is the base's own"
        for before, after in zip(trajectory.states, trajectory.states[1:], strict=False):
            assert all(old in (mask, new) for old, new in zip(before, after, strict=True))
            assert before != after
        if pace.num_steps:
            assert trajectory.num_steps <= pace.num_steps
        if pace.threshold == 0.0:
            assert trajectory.num_steps == 1


def test_sampling_is_reproducible_and_greedy_needs_no_luck(denoiser: Denoiser) -> None:
    assert sample_some(denoiser, Pace(0.9), seed=1) == sample_some(denoiser, Pace(0.9), seed=1)
    assert sample_some(denoiser, Pace(0.9), 5.0, seed=1) != sample_some(denoiser, Pace(0.9), 5.0, seed=2)
    assert sample_some(denoiser, Pace(0.9), 0.0, seed=1) == sample_some(denoiser, Pace(0.9), 0.0, seed=2)


def test_the_base_judges_as_if_it_read_the_text(denoiser: Denoiser, tiny_base: Path) -> None:
    base = load_network(tiny_base, "float32")
    trajectories = sample_some(denoiser, Pace(0.5))
    judged = base_log_probs(denoiser, IDS, clean_of(denoiser), trajectories)
    for trajectory, (log_probs, agrees) in zip(trajectories, judged, strict=True):
        ids = torch.tensor([[*IDS[: trajectory.anchor + 1], *trajectory.tokens]])
        with torch.no_grad():
            states = base.run_layers(base.embed(ids), torch.arange(ids.shape[1])[None])[0]
            rows = base.logits(states)[trajectory.anchor + 1 : -1].log_softmax(-1)
        behind = torch.tensor(trajectory.tokens[1:])
        assert torch.allclose(log_probs, rows.gather(1, behind[:, None])[:, 0], atol=1e-4)
        assert torch.equal(agrees, rows.argmax(-1) == behind)


def test_the_likeliest_wins_unless_it_breaks_the_brackets(denoiser: Denoiser) -> None:
    clean = clean_of(denoiser)
    group = [sample_some(denoiser, Pace(0.5), 3.0, seed)[0] for seed in range(5)]
    scores = [float(p.sum()) for p, _ in base_log_probs(denoiser, IDS, clean, group)]
    best = best_of(denoiser, IDS, clean, group, keeps_all)
    assert best.tokens == group[scores.index(max(scores))].tokens
    other = best_of(denoiser, IDS, clean, group, lambda context, block: tuple(block) == best.tokens)
    assert other.tokens != best.tokens


def test_what_a_trajectory_teaches(denoiser: Denoiser) -> None:
    mask = denoiser.marks.mask
    trajectory = Trajectory(3, ((mask,) * 4, (20, mask, 22, mask), (20, 21, 22, mask), (20, 21, 22, 23)))
    learned = steps_to_learn(trajectory, mask)
    assert [block.shown for block in learned] == list(trajectory.states[:-1])
    no = NOT_ASKED
    assert [block.answers for block in learned] == [(21, 22, 23, no), (21, no, 23, no), (no, no, 23, no)]
    acted = committed_steps(trajectory)
    assert [block.answers for block in acted] == [(no, 22, no, no), (21, no, no, no), (no, no, 23, no)]


def test_order_learns_its_best_way(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(STAGE, steps=25, rank=4, alpha=8.0, learning_rate=2e-2)
    denoiser = make_denoiser(tiny_base, config)
    before = {name: p.detach().clone() for name, p in denoiser.network.named_buffers()}
    sequences = Repeating(Sample(IDS, 4, "a"))
    trainer = train_order(denoiser, sequences, [], config, keeps_all, tmp_path / "a", RunLimits(), lambda m: None)
    losses = trainer.progress.losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(torch.equal(p, before[name]) for name, p in denoiser.network.named_buffers())

    def run(folder: str, steps: int) -> list[float]:
        chosen = replace(config, steps=steps, warmup_steps=100)
        own = make_denoiser(tiny_base, chosen)
        train = train_order(own, sequences, [], chosen, keeps_all, tmp_path / folder, RunLimits(), lambda m: None)
        return train.progress.losses

    run("cut", 1)
    assert run("cut", 2) == run("uncut", 2)


def test_policy_gradient_moves_towards_what_was_rewarded(denoiser: Denoiser) -> None:
    clean, good_and_bad = clean_of(denoiser), [sample_some(denoiser, Pace(0.5), 3.0, seed)[0] for seed in (1, 2)]
    optimiser = torch.optim.SGD(denoiser.trainable().values(), lr=0.05)

    def log_prob(trajectory: Trajectory) -> float:
        return -float(policy_loss(denoiser, IDS, clean, [trajectory], [1.0], 1.0).detach())

    before = [log_prob(each) for each in good_and_bad]
    policy_loss(denoiser, IDS, clean, good_and_bad, [1.0, -1.0], 1.0).backward()
    optimiser.step()
    after = [log_prob(each) for each in good_and_bad]
    assert after[0] - before[0] > after[1] - before[1]


def test_fewer_steps_and_more_agreement_earn_more() -> None:
    mask = 900
    quick = Trajectory(0, ((mask,) * 4, (1, 2, 3, 4)))
    slow = Trajectory(0, ((mask,) * 4, (1, 2, mask, mask), (1, 2, 3, mask), (1, 2, 3, 4)))
    agrees = torch.tensor([True, True, False])
    assert reward(quick, agrees, is_broken=False) > reward(slow, agrees, is_broken=False)
    assert reward(slow, agrees, is_broken=False) > reward(slow, torch.tensor([False, True, True]), is_broken=False)
    assert reward(slow, agrees, is_broken=False) > reward(slow, agrees, is_broken=True)
    assert advantages([1.0, 1.0]) == [0.0, 0.0]
    spread = advantages([1.0, 2.0, 6.0])
    assert sum(spread) == pytest.approx(0) and spread[2] > 0 > spread[1] > spread[0]


def test_onpolicy_runs_resumes_and_touches_the_adapter_only(tiny_base: Path, tmp_path: Path) -> None:
    config = replace(STAGE, stage="onpolicy", warmup_steps=100)
    sequences, reference = Repeating(Sample(IDS, 4, "a")), make_denoiser(tiny_base, config)

    def run(folder: str, steps: int) -> tuple[Denoiser, list[float]]:
        own = make_denoiser(tiny_base, config)
        chosen = replace(config, steps=steps)
        trainer = train_onpolicy(own, sequences, [], chosen, keeps_all, tmp_path / folder, RunLimits(), lambda m: None)
        return own, trainer.progress.losses

    run("cut", 1)
    trained, losses = run("cut", 3)
    assert losses == run("uncut", 3)[1]
    kept = dict(reference.named_buffers())
    assert all(torch.equal(buffer, kept[name]) for name, buffer in trained.named_buffers())
    assert any(not torch.equal(p, reference.trainable()[name]) for name, p in trained.trainable().items())


def test_steps_against_quality(denoiser: Denoiser) -> None:
    points = steps_curve(denoiser, [Sample(IDS, 4, "a"), Sample(IDS[:5], 4, "no room")], size=6)
    assert [point.steps for point in points] == [1, 2, 4, 8, 20]
    assert all(point.log_prob < 0 and 0 <= point.accepted <= 5 for point in points)
    assert points[3] == replace(points[4], steps=8), "five masks never need more than eight steps"


@given(st.lists(st.integers(0, 3), max_size=7), st.lists(st.integers(0, 3), max_size=7), st.integers(0, 10_000))
def test_edit_distance(one: list[int], other: list[int], seed: int) -> None:
    distance = edit_distance(one, other)
    assert distance == edit_distance(other, one)
    assert (distance == 0) == (one == other)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
    rng = random.Random(seed)
    edited = list(one)
    for _ in range(2):
        place = rng.randint(0, len(edited))
        edited[place : place + rng.randint(0, 1)] = [9] * rng.randint(0, 1)
    assert edit_distance(one, edited) <= 2
    assert edit_distance(edited, other) <= distance + 2


def test_mean_pair_distance() -> None:
    assert mean_pair_distance([(1, 2), (1, 3), (4, 3)]) == pytest.approx((1 + 2 + 1) / 3)
    assert mean_pair_distance([(1, 2)]) == 0


@pytest.mark.parametrize(
    ("text", "errors"),
    [("f(a[0]) {}", 0), ("f(a]", 1), (")", 1), ("x = ')' # )\ny()", 0), ("", 0), ("s = '😀)'\r\n\tf()", 0)],
)
def test_bracket_errors(text: str, errors: int) -> None:
    assert bracket_errors(text) == errors


def test_brackets_are_judged_with_their_context(tokenizer: Tokenizer) -> None:
    check = BracketCheck(tokenizer)
    context = [tokenizer.token_id("<|fim_prefix|>") or 0, *tokenizer.encode("print(x[")]
    assert not check(context, tokenizer.encode("0])\n"))
    assert check(context, tokenizer.encode("0)"))
