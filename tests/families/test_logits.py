"""Every network against its published code on the same weights: differences at most 1e-4 of the largest logit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.families.published import CHECKPOINTS, DATA, load_published, reference_tensors, write_published

TOLERANCE = 1e-4

BLOCK_SIZES = {"sdar": 4}
"""Of the stored block-causal logits; 8 where nothing is said."""


def mask_of(case: str, num_rows: int, block_size: int) -> torch.Tensor | None:
    """Who sees whom, written down here independently of the decoder: (T, T) to add to scores."""
    row = torch.arange(num_rows)
    if case == "full":
        return None
    sees = row[:, None] >= row[None]
    if case == "block-causal":
        sees = (row // block_size)[:, None] >= (row // block_size)[None]
    return torch.where(sees, 0.0, float("-inf"))


def cases() -> list[tuple[str, str]]:
    found = []
    for name in CHECKPOINTS:
        names = {key.rsplit(".", 1)[0] for key in reference_tensors(name)}
        found += [(name, case) for case in sorted(names - {"positions"})]
    return found


@pytest.mark.parametrize(("name", "case"), cases())
def test_logits_equal_the_published_code(name: str, case: str, tmp_path: Path) -> None:
    network = load_published(write_published(name, tmp_path))
    reference = reference_tensors(name)
    token_ids, expected = reference[f"{case}.ids"], reference[f"{case}.logits"]
    positions = reference["positions.ids"] if case == "reordered" else torch.arange(len(token_ids))
    window = network.new_canvas_cache(64).window(0, len(token_ids))
    mask = mask_of(case, len(token_ids), BLOCK_SIZES.get(name, 8))
    actual = network.logits(network.forward_canvas(token_ids, positions, window, mask))
    assert relative_error(actual, expected) <= TOLERANCE
    if case != "causal":
        causal = mask_of("causal", len(token_ids), 1)
        other = torch.arange(len(token_ids))
        wrong = network.logits(network.forward_canvas(token_ids, other, window, causal))
        assert relative_error(wrong, expected) > 100 * TOLERANCE, "the mask must matter for this test to say anything"


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_the_autoregressive_loop_sees_the_same_network(name: str, tmp_path: Path) -> None:
    network = load_published(write_published(name, tmp_path))
    reference = reference_tensors(name)
    token_ids, expected = reference["causal.ids"], reference["causal.logits"]
    cache = network.new_cache(64)
    first = network.logits(network.forward(token_ids[:9], cache, is_prompt=True))
    cache.commit(token_ids[:9].tolist())
    rest = network.logits(network.forward(token_ids[9:], cache))
    assert relative_error(torch.cat([first, rest]), expected) <= TOLERANCE


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def test_every_stored_checkpoint_is_tested() -> None:
    assert {folder.name for folder in DATA.iterdir()} == set(CHECKPOINTS)
