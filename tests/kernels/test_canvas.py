"""Canvas edits: the CUDA source under emulation against the reference, exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_runtime.kernels import canvas, reference
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import random

MASK = 99
EDITS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 3), st.booleans()), min_size=1, max_size=40)


def int32(backend: EmulationBackend, values: list[int]) -> torch.Tensor:
    return backend.place(torch.tensor(values, dtype=torch.int32))


def check_rebuild(
    backend: EmulationBackend, ids: list[int], insert: list[int], deleted: list[int], length: int
) -> None:
    arguments = [int32(backend, values) for values in (ids, insert, deleted, [length])]
    actual = canvas.canvas_rebuild(backend, *arguments, MASK)
    expected = reference.canvas_rebuild(*arguments, MASK)
    assert [part.tolist() for part in actual] == [part.tolist() for part in expected]
    backend.check_guards()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS, spare=st.integers(0, 30), schedule=st.sampled_from([0, 1, 7]))
def test_rebuild_equals_reference(edits: list[tuple[int, int, bool]], spare: int, schedule: int) -> None:
    ids, insert, deleted = (list(column) for column in zip(*edits, strict=True))
    length = len(ids)
    padding = [7] * spare
    check_rebuild(
        EmulationBackend(schedule), ids + padding, insert + padding, [int(d) for d in deleted] + padding, length
    )


@pytest.mark.parametrize("capacity", [1, 1023, 1024, 1025, 5000])
def test_rebuild_of_any_size(emulation: EmulationBackend, capacity: int) -> None:
    positions = range(capacity)
    check_rebuild(
        emulation, list(positions), [int(i % 7 == 0) for i in positions], [int(i % 3 == 0) for i in positions], capacity
    )


def test_empty_canvas_stays_empty(emulation: EmulationBackend) -> None:
    check_rebuild(emulation, [1, 2, 3], [5, 5, 5], [0, 0, 0], 0)


def test_insert_and_delete(emulation: EmulationBackend) -> None:
    ids, length = int32(emulation, [10, 11, 12, 13, 0, 0]), int32(emulation, [4])
    inserted = canvas.canvas_insert(emulation, ids, int32(emulation, [0, 2, 0, 0, 9, 9]), length, MASK)
    assert [part.tolist() for part in inserted] == [[10, MASK, MASK, 11, 12, 13], [0, -1, -1, 1, 2, 3], [6]]
    deleted = canvas.canvas_delete(emulation, ids, int32(emulation, [1, 0, 1, 0, 0, 0]), length, MASK)
    assert [part.tolist() for part in deleted] == [[11, 13, MASK, MASK, MASK, MASK], [1, 3, -1, -1, -1, -1], [2]]


def test_what_does_not_fit_is_cut_off(emulation: EmulationBackend) -> None:
    check_rebuild(emulation, [1, 2, 3, 4], [0, 2_000_000_000, 0, 1], [0, 0, 0, 0], 4)


@pytest.mark.parametrize("capacity, length", [(1, 1), (300, 300), (300, 17), (257, 0)])
def test_renoise_equals_reference(emulation: EmulationBackend, capacity: int, length: int) -> None:
    ids = int32(emulation, list(range(capacity)))
    probabilities = emulation.place(random(capacity).sigmoid())
    sizes = int32(emulation, [length])
    actual = canvas.canvas_renoise(emulation, ids, probabilities, sizes, MASK, 0.5)
    assert actual.tolist() == reference.canvas_renoise(ids, probabilities, sizes, MASK, 0.5).tolist()


def test_refuses_wrong_types() -> None:
    backend = EmulationBackend()
    with pytest.raises(ValueError, match=r"ids is torch\.int64"):
        ids = torch.zeros(4, dtype=torch.int64)
        canvas.canvas_renoise(backend, ids, torch.zeros(4), torch.zeros(1, dtype=torch.int32), MASK, 0.5)
