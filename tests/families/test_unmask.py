"""Rules of commitment, weight formats and calibration, by themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.diffusion.unmask import Rule, Scores, quota, revisions, score, select
from model_runtime.families.table import Schedule
from model_runtime.kernels.formats import Int4Weight, quantize_int4
from model_runtime.quantization import (
    PackedLinear,
    calibrated_int4,
    expanded,
    from_stored,
    joined,
    quantized,
    row_slices,
    stored,
    stored_shapes,
)


def scores_of(probabilities: list[float]) -> Scores:
    values = torch.tensor(probabilities)
    return Scores(torch.arange(len(probabilities)), values, values)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["one", "even", "spread", "linear"]), st.integers(1, 64), st.integers(1, 64))
def test_a_schedule_commits_everything_in_its_steps(schedule: Schedule, num_masks: int, steps: int) -> None:
    rule = Rule(schedule=schedule, steps=steps)
    left, step = num_masks, 0
    while left:
        wanted = quota(rule, step, left, num_masks)
        assert 0 <= wanted <= left
        left -= wanted
        step += 1
        assert step <= (num_masks if schedule == "one" else steps)


def test_the_published_schedules() -> None:
    def all_of(rule: Rule, num_masks: int) -> list[int]:
        left, found = num_masks, []
        while left:
            found.append(quota(rule, len(found), left, num_masks))
            left -= found[-1]
        return found

    assert all_of(Rule(schedule="even", steps=4), 10) == [3, 3, 2, 2]
    assert all_of(Rule(schedule="spread", steps=4), 10) == [2, 3, 2, 3]
    assert all_of(Rule(schedule="linear", steps=4), 10) == [2, 2, 2, 4]
    assert all_of(Rule(schedule="one"), 3) == [1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=20), st.integers(1, 5), st.data())
def test_only_masks_are_chosen_and_never_fewer_than_wanted(
    span: list[tuple[float, bool]], wanted: int, data: st.DataObject
) -> None:
    masked = [each for _, each in span]
    threshold = data.draw(st.none() | st.floats(0.1, 0.9))
    rule = Rule(threshold=threshold, is_sequential=data.draw(st.booleans()))
    if not any(masked):
        return
    probabilities = torch.tensor([p for p, _ in span])
    chosen = select(scores_of([p for p, _ in span]), masked, rule, wanted)
    assert len(set(chosen)) == len(chosen) >= min(wanted, sum(masked))
    assert all(masked[i] for i in chosen)
    if rule.is_sequential:
        assert chosen == [i for i, each in enumerate(masked) if each][:wanted]
    else:
        worst = min(float(probabilities[i]) for i in chosen)
        assert all(float(probabilities[i]) <= worst for i in range(len(span)) if masked[i] and i not in chosen)


def test_a_forbidden_token_is_never_chosen_and_an_order_can_be_entropy() -> None:
    logits = torch.tensor([[9.0, 1.0, 0.0], [2.0, 2.0, -9.0]])
    assert score(logits, torch.tensor([0]), Rule(), 0).token_ids.tolist() == [1, 1]
    sharp = torch.tensor([[3.0, 2.9, -9.0, -9.0], [3.0, 1.0, 1.0, 1.0]])
    nothing = torch.tensor([], dtype=torch.long)
    by_probability = score(sharp, nothing, Rule(), 0).certainty
    by_entropy = score(sharp, nothing, Rule(order="entropy"), 0).certainty
    assert by_probability.argmax() == 1 and by_entropy.argmax() == 0


def test_sampling_depends_on_seed_and_place_alone() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    nothing = torch.tensor([], dtype=torch.long)
    rule = Rule(temperature=1.0, seed=3)
    whole = score(logits, nothing, rule, 10).token_ids.tolist()
    assert score(logits[2:4], nothing, rule, 12).token_ids.tolist() == whole[2:4]
    assert score(logits, nothing, Rule(temperature=1.0, seed=4), 10).token_ids.tolist() != whole


def test_a_known_token_is_replaced_only_where_another_is_sure() -> None:
    rule = Rule(edit_threshold=0.8)
    scores = scores_of([0.9, 0.9, 0.7, 0.9])
    assert revisions(scores, [5, 1, 5, 5], [False, False, False, True], rule) == [0]
    assert revisions(scores, [5, 5, 5, 5], [False] * 4, Rule()) == []


@pytest.mark.parametrize("bits", [4, 8])
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(1, 3), st.integers(0, 2**31))
def test_a_packed_layer_is_its_expanded_weight(bits: int, num_out: int, groups: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(num_out, 32 * groups, generator=generator)
    x, bias = torch.randn(5, 32 * groups, generator=generator), torch.randn(num_out, generator=generator)
    cpu = torch.device("cpu")
    packed = quantized(weight.split(16), bits, torch.float32, cpu)  # type: ignore[arg-type]
    y = PackedLinear(packed, bias, torch.float32)(x)
    assert torch.allclose(y, x @ expanded(packed).T + bias, atol=1e-4)
    tensors = stored("w", packed)
    assert {name: tuple(t.shape) for name, t in tensors.items()} == stored_shapes("w", tuple(weight.shape), bits)  # type: ignore[arg-type]
    again = from_stored(tensors["w.values"], tensors["w.scales"], bits, torch.float32)  # type: ignore[arg-type]
    assert torch.equal(expanded(again), expanded(packed))
    assert torch.equal(expanded(joined(row_slices(packed))), expanded(packed))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_calibration_never_makes_the_weighted_error_larger(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(24, 96, generator=generator) ** 3  # heavy tails, as outliers have
    power = torch.rand(96, generator=generator) ** 4

    def error(packed: Int4Weight) -> torch.Tensor:
        squares = (expanded(packed) - weight).square() * power
        return squares.view(24, 3, 32).sum(-1)

    plain = error(quantize_int4(weight, torch.float16))
    calibrated = error(calibrated_int4(weight, power, torch.float16))
    assert bool((calibrated <= plain * (1 + 1e-5) + 1e-9).all())
    assert float(calibrated.sum()) < float(plain.sum())
