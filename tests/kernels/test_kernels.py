"""The operation table: how it chooses, falls back, and reports itself."""

from __future__ import annotations

import logging

import pytest
import torch

from model_runtime import kernels
from model_runtime.kernels import Kernels, load_kernels, reference
from model_runtime.kernels.launch import KernelError
from tests.cuda_emulation.backend import EmulationBackend, compiler
from tests.kernels.comparison import random

needs_compiler = pytest.mark.skipif(compiler() is None, reason="g++ is not installed")


def test_every_operation_has_a_reference_and_a_kernel() -> None:
    for name, module in kernels.MODULES.items():
        assert callable(getattr(reference, name))
        wrapper = __import__(f"model_runtime.kernels.{module}", fromlist=[name])
        assert callable(getattr(wrapper, name))


def test_cpu_uses_the_reference_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    table = load_kernels("cpu")
    assert not table.are_active
    assert table.describe() == ["kernels: plain torch (the device is cpu)"]
    assert not caplog.records
    x = random(2, 16)
    assert torch.equal(table.rms_norm(x, torch.ones(16), 1e-6)[0], reference.rms_norm(x, torch.ones(16), 1e-6)[0])


def test_switched_off() -> None:
    assert load_kernels("cuda", use_kernels=False).describe() == ["kernels: plain torch (switched off)"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    table = load_kernels("cuda", torch.bfloat16)
    assert [record.getMessage() for record in caplog.records] == ["CUDA kernels are off: torch sees no CUDA device"]
    assert table.describe() == ["kernels: plain torch (torch sees no CUDA device)"]


def test_float32_activations_keep_to_the_reference(caplog: pytest.LogCaptureFixture) -> None:
    assert not load_kernels("cuda", torch.float32).are_active
    assert "float32" in caplog.records[0].getMessage()


@needs_compiler
def test_an_operation_can_be_left_to_the_reference() -> None:
    table = Kernels(EmulationBackend(), "emulated", use_reference=["swiglu"])
    assert table.rms_norm.is_kernel
    assert not table.swiglu.is_kernel
    assert table.describe() == ["kernels: CUDA, emulated", "  swiglu: plain torch"]
    with pytest.raises(ValueError, match="unknown operation 'softmax'"):
        Kernels(EmulationBackend(), "emulated", use_reference=["softmax"])


class _BrokenBackend(EmulationBackend):
    def launch(self, launch: object, arguments: object) -> None:
        raise KernelError("swiglu.cu does not compile for a card")


def test_a_kernel_that_cannot_run_is_replaced_once(caplog: pytest.LogCaptureFixture) -> None:
    table = Kernels(_BrokenBackend(), "broken")
    gate_up = random(2, 32, dtype=torch.bfloat16)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(table.swiglu(gate_up), reference.swiglu(gate_up))
    assert len(caplog.records) == 1
    assert "swiglu falls back to plain torch" in caplog.records[0].getMessage()
    assert not table.swiglu.is_kernel


def test_bad_arguments_still_raise() -> None:
    table = Kernels(_BrokenBackend(), "broken")
    with pytest.raises(ValueError, match="multiple of 16"):
        table.swiglu(torch.zeros(1, 24, dtype=torch.bfloat16))
    assert table.swiglu.is_kernel


@needs_compiler
def test_a_decoder_layer_equals_its_reference(dtype: torch.dtype) -> None:
    """All operations of one layer in a row, two forwards, so that the second reads what the first wrote."""
    outputs = []
    for backend in (EmulationBackend(), None):
        table = Kernels(backend, "emulated")
        heads, kv_heads, head_dim, hidden, width, capacity = 4, 2, 64, 128, 256, 32
        cache = torch.zeros(2, kv_heads, capacity, head_dim, dtype=dtype)
        rope = reference.rope_table(capacity, head_dim, 1e6)

        def weight(num_out: int, num_in: int, seed: int) -> torch.Tensor:
            return random(num_out, num_in, dtype=dtype, seed=seed, spread=num_in**-0.5)

        norm, bias = torch.ones(hidden, dtype=dtype), random((heads + 2 * kv_heads) * head_dim, dtype=dtype, seed=9)
        x = residual = torch.empty(0)
        for length, num_causal, rows in ((0, 3, 7), (3, 2, 6)):
            x = random(rows, hidden, dtype=dtype, seed=length)
            state = torch.tensor([length, num_causal, rows], dtype=torch.int32)
            normed, residual = table.rms_norm(x, norm, 1e-6)
            qkv = table.linear_dense(normed, weight(len(bias), hidden, 1))
            q = table.qkv_rope_write(qkv, bias, rope, state, cache[0], cache[1])
            attended = table.block_attention(q, cache[0], cache[1], state, head_dim**-0.5).view(rows, -1)
            normed, residual = table.rms_norm(
                table.linear_dense(attended, weight(hidden, 256, 2)), norm, 1e-6, residual
            )
            middle = table.swiglu(table.linear_dense(normed, weight(2 * width, hidden, 3)))
            x, residual = table.rms_norm(table.linear_dense(middle, weight(hidden, width, 4)), norm, 1e-6, residual)
        outputs.append((x, residual, cache))
    for actual, expected in zip(*outputs, strict=True):
        # Each side rounds the same places, but a last-bit difference early on is carried through the layer.
        assert actual.isfinite().all()
        error = (actual.double() - expected.double()).norm() / expected.double().norm()
        assert error < (1.5e-2 if dtype == torch.bfloat16 else 2e-3)
