"""The broken-model benchmark's own parts: what it shuffles, and when it says that a benchmark noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.broken import SHUFFLED, is_caught, write_broken_copy
from model_runtime import GenerateRequest, Runtime, RuntimeConfig, SamplingParams
from tests.support.tiny_model import write_tiny_checkpoint


def test_only_the_named_layer_is_shuffled_and_the_text_changes(tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "tiny", num_layers=3)
    copy = write_broken_copy(source, tmp_path / "copy", None)
    broken = write_broken_copy(source, tmp_path / "broken", 1)
    before, same, after = (load_file(folder / "model.safetensors") for folder in (source, copy, broken))
    assert all(torch.equal(before[name], same[name]) for name in before)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.layers.1.{part}" for part in SHUFFLED}
    for name in changed:
        assert torch.equal(before[name].sum(0), after[name].sum(0)) or torch.allclose(
            before[name].sort(0).values, after[name].sort(0).values
        ), "the same rows in another order"
    request = GenerateRequest("def f(x):\n", params=SamplingParams(policy="ar", max_tokens=12))
    texts = []
    for folder in (source, copy, broken):
        runtime = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32"))
        texts.append(runtime.generate(request).text)
        runtime.close()
    assert texts[0] == texts[1] != texts[2]


def test_a_layer_that_is_not_there(tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "tiny", num_layers=2)
    with pytest.raises(KeyError, match=r"layers\.7"):
        write_broken_copy(source, tmp_path / "broken", 7)


@pytest.mark.parametrize(
    ("healthy", "broken", "caught"), [(10, 0, True), (10, 5, True), (10, 6, False), (0, 0, False), (1, 1, False)]
)
def test_half_of_the_score_must_be_gone(healthy: int, broken: int, caught: bool) -> None:
    assert is_caught(healthy, broken) is caught
