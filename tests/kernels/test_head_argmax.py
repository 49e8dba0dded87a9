"""head_argmax: the CUDA source under emulation against the reference, tokens and decisions exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.kernels import reference
from model_runtime.kernels.formats import (
    Int4Weight,
    Int8Weight,
    pack_token_set,
    quantize_int4,
    quantize_int8,
    unpack_token_set,
)
from model_runtime.kernels.head_argmax import head_argmax
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import random

MASK = 5


def make_head(
    backend: EmulationBackend, bits: int, vocabulary: int, width: int, dtype: torch.dtype
) -> reference.Weight:
    weight = random(vocabulary, width, seed=1, spread=4 * width**-0.5)
    if bits == 8:
        eight = quantize_int8(weight)
        return Int8Weight(backend.place(eight.values), backend.place(eight.scales))
    if bits == 4:
        four = quantize_int4(weight, dtype)
        return Int4Weight(backend.place(four.packed), backend.place(four.scales))
    return backend.place(weight.to(dtype))


def check(
    backend: EmulationBackend,
    hidden: torch.Tensor,
    weight: reference.Weight,
    canvas: torch.Tensor,
    thresholds: tuple[float, float],
    mask_id: int = MASK,
    never: tuple[int, ...] = (MASK,),
) -> reference.HeadResult:
    hidden, canvas = backend.place(hidden), backend.place(canvas.to(torch.int32))
    limits = backend.place(torch.tensor(thresholds))
    vocabulary = len(weight.values if isinstance(weight, Int8Weight) else getattr(weight, "packed", weight))
    forbidden = backend.place(pack_token_set(torch.tensor(never), vocabulary)) if never else None
    actual = head_argmax(backend, hidden, weight, canvas, limits, mask_id, forbidden)
    expected = reference.head_argmax(hidden, weight, canvas, limits, mask_id, forbidden)
    assert actual.tokens.tolist() == expected.tokens.tolist()
    torch.testing.assert_close(actual.probabilities, expected.probabilities, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(actual.current_probabilities, expected.current_probabilities, rtol=1e-4, atol=1e-6)
    assert actual.canvas.tolist() == expected.canvas.tolist()
    assert actual.status.tolist() == expected.status.tolist()
    return actual


def mixed_canvas(rows: int, vocabulary: int) -> torch.Tensor:
    """Masks, decided tokens and rows that decide nothing, in turn."""
    index = torch.arange(rows)
    return torch.where(index % 3 == 0, MASK, torch.where(index % 3 == 1, (7 * index) % vocabulary, -1))


@pytest.mark.parametrize("bits", [16, 8, 4])
@pytest.mark.parametrize("rows, vocabulary, width", [(1, 40, 64), (6, 300, 96), (20, 530, 128)])
def test_equals_reference(
    emulation: EmulationBackend, dtype: torch.dtype, bits: int, rows: int, vocabulary: int, width: int
) -> None:
    weight = make_head(emulation, bits, vocabulary, width, dtype)
    check(emulation, random(rows, width, dtype=dtype), weight, mixed_canvas(rows, vocabulary), (0.4, 0.3))


@pytest.mark.parametrize("rows", [33, 128])
def test_more_rows_than_one_pass(dtype: torch.dtype, rows: int) -> None:
    backend = EmulationBackend()
    weight = make_head(backend, 16, 200, 64, dtype)
    check(backend, random(rows, 64, dtype=dtype), weight, mixed_canvas(rows, 200), (0.4, 0.3))
    backend.check_guards()


def test_model_width(dtype: torch.dtype) -> None:
    backend = EmulationBackend()
    weight = make_head(backend, 16, 1000, 896, dtype)
    check(backend, random(8, 896, dtype=dtype), weight, mixed_canvas(8, 1000), (0.9, 2.0))


def test_ties_go_to_the_lowest_token(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    weight = torch.zeros(400, 32, dtype=dtype)
    weight[[3, 17, 130, 399], 0] = 1.0
    hidden = torch.zeros(2, 32, dtype=dtype)
    hidden[:, 0] = 2.0
    result = check(emulation, hidden, emulation.place(weight), torch.tensor([MASK, 17]), (0.9, 0.9))
    assert result.tokens.tolist() == [3, 3]
    assert float(result.current_probabilities[1]) == pytest.approx(float(result.probabilities[1]))


def test_forbidden_token_is_never_predicted(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    weight = torch.zeros(64, 32, dtype=dtype)
    weight[MASK, 0], weight[9, 0] = 4.0, 1.0
    hidden = torch.zeros(1, 32, dtype=dtype)
    hidden[0, 0] = 8.0
    placed = emulation.place(weight)
    assert check(emulation, hidden, placed, torch.tensor([MASK]), (0.5, 2.0)).tokens.tolist() == [9]
    assert check(emulation, hidden, placed, torch.tensor([1]), (0.5, 2.0), never=()).tokens.tolist() == [MASK]


def test_a_set_of_tokens_is_never_predicted(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    """Every token but one, words of 32 bits through and through, the last one short."""
    vocabulary, allowed = 101, 95
    weight = emulation.place(random(vocabulary, 32, dtype=dtype))
    never = tuple(token for token in range(vocabulary) if token != allowed)
    result = check(emulation, random(3, 32, dtype=dtype), weight, torch.tensor([MASK, 7, -1]), (0.5, 2.0), never=never)
    assert result.tokens.tolist() == [allowed] * 3
    assert result.probabilities.tolist() == [1.0] * 3


@given(st.sets(st.integers(0, 99)), st.integers(1, 100))
def test_token_sets_are_packed_and_unpacked(members: set[int], vocabulary: int) -> None:
    words = pack_token_set(torch.tensor(sorted(members), dtype=torch.long), vocabulary)
    inside = {token for token in members if token < vocabulary}
    assert set(unpack_token_set(words, vocabulary).nonzero().flatten().tolist()) == inside


def test_mask_outside_the_vocabulary(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    weight = make_head(emulation, 16, 48, 32, dtype)
    check(emulation, random(3, 32, dtype=dtype), weight, torch.tensor([48, 47, 48]), (0.99, 0.1), 48, ())


def test_every_step_commits_at_least_one_mask(emulation: EmulationBackend, dtype: torch.dtype) -> None:
    weight = make_head(emulation, 16, 48, 32, dtype)
    result = check(emulation, random(9, 32, dtype=dtype), weight, torch.full((9,), MASK), (1.1, 1.1))
    assert result.status.tolist() == [8, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(-1, 9)),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([0.3, 0.5, 1.1]),
    st.sampled_from([0.6, 1.1]),
)
def test_decision_rules(rows: list[tuple[int, float, int]], commit: float, revise: float) -> None:
    tokens, probabilities, canvas = (torch.tensor(column) for column in zip(*rows, strict=True))
    decided, status = reference.commit_decision(
        tokens.to(torch.int32), probabilities, canvas.to(torch.int32), torch.tensor([commit, revise]), MASK
    )
    num_masked = int((canvas == MASK).sum())
    newly = sum(1 for before, after in zip(canvas.tolist(), decided.tolist(), strict=True) if before == MASK != after)
    assert status[0] == int((decided == MASK).sum())
    assert status[1] == int((decided != canvas).sum())
    for (token, probability, before), after in zip(rows, decided.tolist(), strict=True):
        assert after in (before, token)
        if before == -1:
            assert after == -1
        if before >= 0 and before != MASK and probability < revise:
            assert after == before
        if before == MASK and probability >= commit:
            assert after == token
    if num_masked and MASK not in tokens.tolist():
        assert newly >= 1
