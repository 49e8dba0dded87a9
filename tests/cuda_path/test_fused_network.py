"""The wired path, emulated, against the same path in plain torch, and against the plain network in float32."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from model_runtime.checkpoint import open_checkpoint
from model_runtime.errors import RequestError
from model_runtime.kernels import Kernels
from model_runtime.loading import Adapters, Placement, load_network
from model_runtime.models.qwen2 import Qwen2
from tests.cuda_emulation.backend import EmulationBackend, compiler
from tests.cuda_path.fused_model import PLAIN, fused_config, load, random_adapter
from tests.support.tiny_model import write_tiny_checkpoint

needs_compiler = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")
PRECISIONS = ("bfloat16", "float16", "int8", "int4")


def emulated() -> Kernels:
    return Kernels(EmulationBackend(), "emulated")


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


def prompt(num_tokens: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (num_tokens,), generator=torch.Generator().manual_seed(3))


@needs_compiler
@pytest.mark.parametrize("precision", PRECISIONS)
def test_kernels_and_references_give_the_same_network(folder: Path, precision: str) -> None:
    """Prompt, causal rows, masks through the denoiser, healing merged; the second forward reads the first's cache."""
    mask, healing = random_adapter(folder, "mask"), random_adapter(folder, "healing", size=0.05)
    outputs = []
    for kernels in (emulated(), PLAIN):
        network = load(folder, kernels, precision, mask=mask, healing=healing)
        cache, ids = network.new_cache(128), prompt()
        first = network.forward(ids[:30], cache, is_prompt=True).clone()
        cache.commit(ids[:30].tolist())
        rows = torch.cat([ids[30:], torch.full((5,), fused_config().mask_token_id)])
        second = network.forward(rows, cache, num_canvas=5)
        outputs.append((first, second.clone(), network.logits(second)))
    for actual, expected in zip(*outputs, strict=True):
        assert relative_error(actual, expected) <= (0.004 if precision == "float16" else 0.03)


@needs_compiler
@pytest.mark.parametrize(("precision", "limit"), [("float16", 0.005), ("bfloat16", 0.04), ("int8", 0.06)])
def test_it_is_the_plain_network(folder: Path, precision: str, limit: float) -> None:
    mask = random_adapter(folder, "mask", size=0.1)
    with open_checkpoint(folder) as checkpoint:
        plain = load_network(checkpoint, Placement(torch.device("cpu"), "float32"), 512, Adapters(mask=mask))
    assert isinstance(plain, Qwen2)
    network = load(folder, emulated(), precision, mask=mask)
    ids = torch.cat([prompt(), torch.full((4,), fused_config().mask_token_id)])
    expected = plain.logits(plain.forward(ids, plain.new_cache(64), num_canvas=4))
    actual = network.logits(network.forward(ids, network.new_cache(64), num_canvas=4))
    allowed = [token for token in range(expected.shape[1]) if token != fused_config().mask_token_id]
    assert relative_error(actual[:, allowed], expected[:, allowed]) <= limit


@needs_compiler
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_is_to_the_last_bit_what_it_is_alone(folder: Path, precision: str) -> None:
    network, ids = load(folder, emulated(), precision, mask=random_adapter(folder, "mask")), prompt(20)
    results = []
    for size in (1, 3, 20):
        cache, rows = network.new_cache(64), []
        for start in range(0, 20, size):
            chunk = ids[start : start + size]
            masks = torch.full((2,), fused_config().mask_token_id)  # behind the rows: they must not be seen
            rows.append(network.forward(torch.cat([chunk, masks]), cache, num_canvas=2)[: len(chunk)].clone())
            cache.commit(chunk.tolist())
        results.append(torch.cat(rows))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_logits_in_slices_are_the_heads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in PRECISIONS:
        network = load(folder, PLAIN, precision)
        hidden = torch.randn(3, fused_config().hidden_size).to(network.dtype)
        whole = network.logits(hidden)
        monkeypatch.setattr("model_runtime.models.fused_qwen2._LOGITS_SLICE", 7)
        assert torch.allclose(network.logits(hidden), whole, atol=1e-5)
        record = network.model.head(hidden, torch.full((3,), -1, dtype=torch.int32), network._forbidden)
        assert record.tokens.tolist() == whole.argmax(-1).tolist()


@pytest.mark.parametrize(("precision", "used"), [("bfloat16", "dense"), ("int8", "int8"), ("int4", "int4")])
def test_weights_are_stored_as_configured(folder: Path, precision: str, used: str) -> None:
    called = []
    kernels = Kernels(None, "counted")
    for name in ("linear_dense", "linear_int8", "linear_int4"):
        operation = getattr(kernels, name)

        def counted(*given: Any, name: str = name, operation: Any = operation) -> Any:
            called.append(name)
            return operation(*given)

        setattr(kernels, name, counted)
    network = load(folder, kernels, precision)
    network.forward(prompt(3), network.new_cache(8))
    assert set(called) == {f"linear_{used}"}
    dense = load(folder, PLAIN, "bfloat16")
    assert precision == "bfloat16" or network.num_bytes < dense.num_bytes


def test_a_shape_the_kernels_cannot_run_is_left_to_plain_torch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = write_tiny_checkpoint(tmp_path / "tiny")
    with open_checkpoint(tiny) as checkpoint, caplog.at_level(logging.WARNING):
        network = load_network(checkpoint, Placement(torch.device("cpu"), "bfloat16"), 64, kernels=PLAIN)
    assert isinstance(network, Qwen2)
    assert [each.getMessage() for each in caplog.records] == [
        "CUDA kernels are off: they cannot run heads of 16 (64 or 128 are supported)"
    ]


def test_packed_weights_without_kernels_are_refused_with_what_to_use(tmp_path: Path) -> None:
    tiny = write_tiny_checkpoint(tmp_path / "tiny")
    with open_checkpoint(tiny) as checkpoint, pytest.raises(RequestError, match=r"'int4'.*use int8"):
        load_network(checkpoint, Placement(torch.device("cpu"), "int4"), 64)


def test_rows_that_do_not_fit_the_cache_are_refused(folder: Path) -> None:
    network = load(folder, PLAIN)
    cache, none = network.new_cache(8), torch.tensor([], dtype=torch.long)
    with pytest.raises(RequestError, match="do not fit the cache of 8"):
        network.decide(1, [2] * 8, 0, cache, none, 2.0)
    with pytest.raises(RequestError, match="do not fit the cache of 8"):
        network.forward(prompt(9), cache)
