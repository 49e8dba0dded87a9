"""The network against `transformers`' Qwen2 on the same weights, with and without cache, in any split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_runtime.checkpoint import open_checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.loading import choose_placement, load_network
from model_runtime.models.qwen2 import Qwen2
from tests.support.tiny_model import write_tiny_checkpoint

NUM_TOKENS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("qwen2") / "tiny", num_layers=3)


@pytest.fixture(scope="module")
def network(folder: Path) -> Qwen2:
    return load(folder, "float32")


@pytest.fixture(scope="module")
def expected(folder: Path) -> torch.Tensor:
    """Logits of the reference implementation, (T, vocabulary)."""
    import transformers

    reference = transformers.Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reference.eval()
    with torch.inference_mode():
        return reference(token_ids()[None]).logits[0]


def load(folder: Path, precision: str) -> Qwen2:
    with open_checkpoint(folder) as checkpoint:
        return load_network(checkpoint, choose_placement(RuntimeConfig(device="cpu", precision=precision)), 256)


def token_ids() -> torch.Tensor:
    return torch.randint(0, 256, (NUM_TOKENS,), generator=torch.Generator().manual_seed(3))


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def test_logits_equal_the_reference_in_one_forward(network: Qwen2, expected: torch.Tensor) -> None:
    logits = network.logits(network.forward(token_ids(), network.new_cache(64)))
    assert relative_error(logits, expected) <= 1e-4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 12), min_size=1, max_size=20))
def test_logits_do_not_depend_on_how_the_rows_are_split(
    network: Qwen2, expected: torch.Tensor, sizes: list[int]
) -> None:
    cache = network.new_cache(64)
    ids, rows, start = token_ids(), [], 0
    for size in [*sizes, NUM_TOKENS]:
        chunk = ids[start : start + size]
        if not len(chunk):
            break
        rows.append(network.logits(network.forward(chunk, cache)))
        cache.commit(chunk.tolist())
        start += size
    assert relative_error(torch.cat(rows), expected) <= 1e-4


def test_a_rejected_draft_leaves_no_trace(network: Qwen2, expected: torch.Tensor) -> None:
    cache, ids = network.new_cache(64), token_ids()
    network.forward(ids[:10], cache)
    cache.commit(ids[:10].tolist())
    network.forward(torch.arange(200, 220), cache)  # drafts, never committed
    assert relative_error(network.logits(network.forward(ids[10:], cache)), expected[10:]) <= 1e-4


def test_canvas_rows_see_each_other_and_causal_rows_do_not_see_them(network: Qwen2) -> None:
    ids = token_ids()
    changed = ids.clone()
    changed[-1] = (changed[-1] + 1) % 256
    plain, other = (network.forward(each, network.new_cache(64), num_canvas=4) for each in (ids, changed))
    assert torch.equal(plain[:-4], other[:-4])
    assert all(not torch.allclose(plain[row], other[row]) for row in range(-4, 0))


def test_a_full_canvas_is_bidirectional(network: Qwen2) -> None:
    ids = token_ids()[:8]
    changed = ids.clone()
    changed[-1] = (changed[-1] + 1) % 256
    first = network.forward(ids, network.new_cache(64), num_canvas=8)[0]
    second = network.forward(changed, network.new_cache(64), num_canvas=8)[0]
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("block", [2, 7, 16, 40])
def test_rows_are_to_the_last_bit_what_they_are_alone(folder: Path, precision: str, block: int) -> None:
    network, ids = load(folder, precision), token_ids()
    results = []
    for size in (1, block):
        cache, rows = network.new_cache(64), []
        for start in range(0, NUM_TOKENS, size):
            rows.append(network.logits(network.forward(ids[start : start + size], cache)))
            cache.commit(ids[start : start + size].tolist())
        results.append(torch.cat(rows))
    if precision == "int8":
        assert torch.equal(*results)
    else:  # float products may sum in another order for more rows
        assert relative_error(*results) <= 1e-5


def test_a_prompt_read_together_is_the_same_up_to_rounding(network: Qwen2) -> None:
    together = network.forward(token_ids(), network.new_cache(64), is_prompt=True)
    assert relative_error(together, network.forward(token_ids(), network.new_cache(64))) <= 1e-4


def test_int8_is_close_to_float(folder: Path, expected: torch.Tensor) -> None:
    network = load(folder, "int8")
    logits = network.logits(network.forward(token_ids(), network.new_cache(64)))
    assert float(torch.nn.functional.cosine_similarity(logits, expected, dim=-1).min()) >= 0.98
