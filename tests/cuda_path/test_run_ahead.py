"""Steps that start before anybody asks: the same results, used when asked for, dropped when not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.cuda_path.memory import STEP_ROWS, StepRecord
from model_runtime.cuda_path.network import FusedNetwork, StaticCache
from tests.cuda_path.fused_model import PLAIN, fused_config, load, random_adapter

NEVER = torch.tensor([fused_config().mask_token_id])


@pytest.fixture(scope="module")
def network(folder: Path) -> FusedNetwork:
    return load(folder, PLAIN, mask=random_adapter(folder, "mask"))


@pytest.fixture(scope="module")
def second(folder: Path) -> FusedNetwork:
    """The same network once more, for what must not disturb the first."""
    return load(folder, PLAIN, mask=random_adapter(folder, "mask"))


def read_prompt(network: FusedNetwork, token_ids: list[int], capacity: int = 96) -> StaticCache:
    cache = network.new_cache(capacity)
    network.forward(torch.tensor(token_ids), cache, is_prompt=True)
    cache.commit(token_ids)
    return cache


def step(
    network: FusedNetwork, cache: StaticCache, anchor: int, canvas: list[int], num_masks: int, accept: float = 2.0
) -> StepRecord:
    record = network.decide(anchor, canvas, num_masks, cache, NEVER, accept)
    cache.commit([anchor, *canvas[: record.num_accepted]])
    return record


def one_at_a_time(network: FusedNetwork, cache: StaticCache, anchor: int, count: int) -> list[int]:
    tokens = []
    for _ in range(count):
        anchor = step(network, cache, anchor, [], 0).token_ids[0]
        tokens.append(anchor)
    return tokens


def test_one_token_at_a_time_is_foreseen(network: FusedNetwork) -> None:
    expected, before = [], network.statistics.foreseen
    network._run_ahead = False
    expected = one_at_a_time(network, read_prompt(network, [5, 6, 7]), 9, 12)
    assert network.statistics.foreseen == before
    network._run_ahead = True
    assert one_at_a_time(network, read_prompt(network, [5, 6, 7]), 9, 12) == expected
    assert network.statistics.foreseen - before == 12 - 3  # the first three calls find out that it pays


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_results_do_not_depend_on_what_was_started_ahead(network: FusedNetwork, data: st.DataObject) -> None:
    """Any mix of foreseen rows, other rows, truncations, prompts and thresholds, with and without running ahead."""
    plan = data.draw(
        st.lists(
            st.tuples(st.sampled_from("ffffgtpo"), st.integers(0, 3), st.integers(0, 2), st.sampled_from([2.0, 0.3])),
            min_size=6,
            max_size=10,
        )
    )
    outcomes = []
    for run_ahead in (True, False):
        network._run_ahead = run_ahead
        cache, rows, seen = read_prompt(network, [5, 6, 7, 8]), ([9], 1), []
        for kind, number, num_masks, accept in plan:
            if cache.length > 70:
                break
            if kind == "t":
                cache.truncate(max(2, cache.length - number))
            elif kind == "p":
                network.forward(torch.tensor([1, 2, 3]), cache, is_prompt=True)
                cache.commit([1, 2, 3])
            elif kind == "o":
                rows = ([number, *[number + 1] * number, *[int(NEVER)] * num_masks], 1 + number)
            elif kind == "g":
                rows = (rows[0][: rows[1]], rows[1])  # the same, without its masks
            ids, num_causal = rows
            record = step(network, cache, ids[0], ids[1:num_causal], len(ids) - num_causal, accept)
            seen.append((record.num_accepted, record.token_ids, record.probs, record.guess_probs))
            rows = record.next_rows(STEP_ROWS[-1], cache.capacity, int(NEVER))
        outcomes.append((seen, list(cache.token_ids)))
    assert outcomes[0] == outcomes[1]


def test_rows_put_back_from_elsewhere_are_noticed(network: FusedNetwork, second: FusedNetwork) -> None:
    """Another text of the same length, with the same newest token, is not what was foreseen."""
    network._run_ahead = True
    cache = read_prompt(network, [5, 6, 7])
    tokens = one_at_a_time(network, cache, 9, 6)
    anchor, length = tokens[-1], cache.length
    other = read_prompt(second, [20 + i for i in range(length)])
    expected = step(second, other, anchor, [], 0)
    assert network._ahead is not None
    cache.truncate(0)
    rows = (other._keys[:, :, :length].clone(), other._values[:, :, :length].clone())
    cache.commit(list(other.token_ids[:length]))
    cache._keys[:, :, :length], cache._values[:, :, :length] = rows
    assert step(network, cache, anchor, [], 0).probs == expected.probs


def test_forbidden_ids_hold_from_the_next_step_on(network: FusedNetwork, second: FusedNetwork) -> None:
    network._run_ahead = True
    *_, anchor, wanted = one_at_a_time(second, read_prompt(second, [5, 6, 7]), 9, 7)
    cache = read_prompt(network, [5, 6, 7])
    assert one_at_a_time(network, cache, 9, 6)[-1] == anchor
    assert network._ahead is not None  # the next step has been started with the old set
    assert step_without(network, cache, anchor, wanted) != wanted


def step_without(network: FusedNetwork, cache: StaticCache, anchor: int, token_id: int) -> int:
    """What a step chooses when that token is forbidden too."""
    return network.decide(anchor, [], 0, cache, torch.tensor([int(NEVER), token_id]), 2.0).token_ids[0]


def test_the_device_lays_out_the_rows_the_host_expects(network: FusedNetwork) -> None:
    cache = read_prompt(network, [5, 6, 7])
    canvas: list[int] = []
    for _ in range(8):
        record = step(network, cache, 9, canvas, 3, accept=0.0)
        memory = network._memory[next(rows for rows in STEP_ROWS if rows >= 1 + len(canvas) + 3)].step
        ids, num_causal = record.next_rows(len(memory.ids), cache.capacity, int(NEVER))
        if network._ahead is None:
            assert memory.state.tolist() == [cache.length, num_causal, len(ids)]
            assert memory.ids[: len(ids)].tolist() == ids
        canvas = ids[1:num_causal]
