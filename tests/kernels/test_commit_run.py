"""commit_run: the CUDA source under emulation against the reference, and the reference against the decoder's rules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.kernels import reference
from model_runtime.kernels.commit_run import commit_run
from model_runtime.kernels.reference import StepMemory
from tests.cuda_emulation.backend import EmulationBackend, compiler

MASK = 9
needs_compiler = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")


def make_step(
    rows: int, guesses: list[int], num_masks: int, length: int = 20, accept: float = 2.0, anchor: int = 3
) -> StepMemory:
    """A step's memory as the host lays it out."""
    num_causal, num_rows = 1 + len(guesses), 1 + len(guesses) + num_masks
    ids, judged, gate = torch.zeros(rows).int(), torch.full((rows,), -1).int(), torch.zeros(rows)
    ids[:num_rows] = torch.tensor([anchor, *guesses, *[MASK] * num_masks])
    judged[: len(guesses)] = torch.tensor(guesses)
    gate[num_causal:num_rows] = 1.0
    state = torch.tensor([length, num_causal, num_rows], dtype=torch.int32)
    return StepMemory(ids, judged, gate, state, torch.tensor([accept]), torch.zeros(4 + 3 * rows, dtype=torch.int32))


def place(backend: EmulationBackend, step: StepMemory) -> StepMemory:
    return StepMemory(*(backend.place(getattr(step, name)) for name in StepMemory.__slots__))


def same(one: StepMemory, other: StepMemory) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in StepMemory.__slots__)


def run(
    tokens: list[int], step: StepMemory, best: float = 0.5, current: list[float] | None = None, capacity: int = 64
) -> tuple[int, list[int], list[int], list[int]]:
    """(accepted, ids, judged, state) by the reference."""
    rows = len(tokens)
    given = torch.tensor(current) if current is not None else torch.zeros(rows)
    reference.commit_run(torch.tensor(tokens).int(), torch.full((rows,), best), given, step, capacity, MASK)
    return int(step.result[0]), step.ids.tolist(), step.judged.tolist(), step.state.tolist()


def test_the_whole_run_is_accepted_and_the_masks_are_the_next_guesses() -> None:
    step = make_step(8, guesses=[5, 6], num_masks=3)
    accepted, ids, judged, state = run([5, 6, 7, 1, 2, 4, 0, 0], step)
    assert accepted == 2
    assert ids == [7, 1, 2, 4, MASK, MASK, MASK, 0]
    assert judged == [1, 2, 4, -1, -1, -1, -1, -1]
    assert state == [23, 4, 7]
    assert step.gate.tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    assert step.result[1:4].tolist() == [20, 3, 6]
    assert step.result[4:12].tolist() == [5, 6, 7, 1, 2, 4, 0, 0]


def test_behind_a_refused_guess_come_the_models_own_choices() -> None:
    step = make_step(8, guesses=[5, 6, 6], num_masks=2)
    assert run([5, 1, 2, 4, 8, 8, 0, 0], step) == (1, [1, 2, 4, MASK, MASK, 0, 0, 0], [2, 4, *[-1] * 6], [22, 3, 5])


def test_one_token_at_a_time() -> None:
    assert run([7], make_step(1, [], 0)) == (0, [7], [-1], [21, 1, 1])


def test_near_ties_are_accepted_from_the_threshold_on() -> None:
    step = make_step(4, guesses=[5, 6], num_masks=0, accept=0.5)
    assert run([1, 2, 3, 0], step, best=0.5, current=[0.25, 0.2, 0.0, 0.0])[0] == 1


def test_the_next_rows_fit_the_cache_and_the_memory() -> None:
    assert run([5, 1, 2, 3, 4, 0, 0, 0], make_step(8, [5], 3), capacity=24)[3] == [22, 2, 2]
    assert run([5, 1, 2, 3, 4], make_step(5, [5], 3), capacity=99)[3] == [22, 4, 5]


@needs_compiler
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_kernel_is_the_reference(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([1, 4, 40, 264]))
    num_guesses = data.draw(st.integers(0, rows - 1))
    num_masks = data.draw(st.integers(0, rows - 1 - num_guesses))
    few = st.integers(0, 2)
    tokens = data.draw(st.lists(few, min_size=rows, max_size=rows))
    wrong = data.draw(st.sets(st.integers(0, max(0, num_guesses - 1)), max_size=2))
    guesses = [tokens[i] + 1 if i in wrong else tokens[i] for i in range(num_guesses)]
    length, capacity = data.draw(st.integers(0, 40)), data.draw(st.integers(41, 400))
    accept = data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    best, current = (torch.rand(rows, generator=generator) for _ in range(2))
    backend = EmulationBackend(schedule=data.draw(st.sampled_from([0, 1, 7])))
    expected = make_step(rows, guesses, num_masks, length, accept)
    actual = place(backend, expected)
    chosen = torch.tensor(tokens, dtype=torch.int32)
    reference.commit_run(chosen, best, current, expected, capacity, MASK)
    commit_run(backend, backend.place(chosen), backend.place(best), backend.place(current), actual, capacity, MASK)
    assert same(actual, expected)
    backend.check_guards()


def test_refuses_memory_of_another_size() -> None:
    step, row = make_step(4, [], 0), torch.zeros(4)
    with pytest.raises(ValueError, match=r"step\.ids has shape \(4,\), expected \(5,\)"):
        commit_run(EmulationBackend(), torch.zeros(5).int(), torch.zeros(5), torch.zeros(5), step, 9, MASK)
    with pytest.raises(ValueError, match=r"tokens is torch\.float32"):
        commit_run(EmulationBackend(), row, row, row, step, 9, MASK)
