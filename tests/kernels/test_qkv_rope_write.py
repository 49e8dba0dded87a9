"""qkv_rope_write: the CUDA source under emulation against the reference."""

from __future__ import annotations

import pytest
import torch

from model_runtime.kernels import reference
from model_runtime.kernels.qkv_rope_write import qkv_rope_write
from tests.cuda_emulation.backend import EmulationBackend
from tests.kernels.comparison import assert_close, random


@pytest.mark.parametrize("heads, kv_heads, head_dim", [(14, 2, 64), (12, 2, 128), (1, 1, 16)])
@pytest.mark.parametrize(
    "length, rows, num_rows, capacity, has_bias",
    [(0, 1, 1, 8, True), (37, 5, 5, 48, False), (20, 8, 3, 64, True), (30, 4, 4, 32, True), (40, 2, 2, 32, True)],
    ids=["empty cache", "appended", "padding rows", "cache fills up", "cache already full"],
)
def test_equals_reference(
    emulation: EmulationBackend,
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    head_dim: int,
    length: int,
    rows: int,
    num_rows: int,
    capacity: int,
    has_bias: bool,
) -> None:
    width = (heads + 2 * kv_heads) * head_dim
    qkv = emulation.place(random(rows, width, dtype=dtype))
    qkv[num_rows:] = float("nan")
    bias = emulation.place(random(width, dtype=dtype, seed=1, spread=5)) if has_bias else None
    table = emulation.place(reference.rope_table(capacity, head_dim, 1e6))
    state = emulation.place(torch.tensor([length, 0, num_rows], dtype=torch.int32))
    before = random(2, kv_heads, capacity, head_dim, dtype=dtype, seed=2).to(emulation.device)
    k_cache, v_cache = emulation.place(before[0]), emulation.place(before[1])
    q = qkv_rope_write(emulation, qkv, bias, table, state, k_cache, v_cache)

    expected_k, expected_v = before[0].clone(), before[1].clone()
    expected = reference.qkv_rope_write(qkv, bias, table, state, expected_k, expected_v)
    if bool(expected.any()):
        assert_close(q, expected, dtype)
    else:
        assert torch.equal(q, expected)
    assert_close(k_cache, expected_k, dtype)
    assert torch.equal(v_cache, expected_v)


def test_table_is_accurate_far_out() -> None:
    table = reference.rope_table(32768, 64, 1e6)
    angle = torch.tensor(32767.0, dtype=torch.float64) * 1e6 ** (-2 / 64)
    assert table[32767, 1] == pytest.approx(float(angle.cos()), abs=1e-6)
    assert table[32767, 33] == pytest.approx(float(angle.sin()), abs=1e-6)


def test_rotation_keeps_relative_positions() -> None:
    table = reference.rope_table(64, 64, 1e4)
    qkv = random(1, 3 * 64)

    def score(position: int, distance: int) -> float:
        caches = torch.zeros(2, 1, 64, 64)
        rotated = [
            reference.qkv_rope_write(qkv, None, table, torch.tensor([at, 0, 1]), caches[0], caches[1])
            for at in (position, position - distance)
        ]
        return float((rotated[0] @ rotated[1].transpose(-1, -2)).squeeze())

    assert score(50, 7) == pytest.approx(score(20, 7), rel=1e-4)
    assert score(50, 7) != pytest.approx(score(50, 30), rel=1e-2)


def test_refuses_widths_it_cannot_do() -> None:
    cache, table = torch.zeros(1, 4, 64, dtype=torch.float16), torch.zeros(4, 64)
    with pytest.raises(ValueError, match="width is 128"):
        narrow = torch.zeros(1, 128, dtype=torch.float16)
        qkv_rope_write(EmulationBackend(), narrow, None, table, torch.zeros(3, dtype=torch.int32), cache, cache)
