"""The emulator itself: what it computes, and that it catches the mistakes it exists to catch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model_runtime.kernels.launch import KernelError, Launch
from tests.cuda_emulation import backend as emulation
from tests.cuda_emulation.backend import EmulationBackend

pytestmark = pytest.mark.skipif(emulation.compiler() is None, reason="g++ is not installed")

SOURCE = """
#include "common.cuh"

extern "C" __global__ void
reverse_kernel(int* values, int count) {  // through shared memory, with its barrier
  SHARED_MEMORY(shared);
  int* copy = reinterpret_cast<int*>(shared);
  copy[threadIdx.x] = values[threadIdx.x];
  __syncthreads();
  values[threadIdx.x] = copy[count - 1 - threadIdx.x];
}

extern "C" __global__ void
race_kernel(int* values, int count) {  // the same without
  SHARED_MEMORY(shared);
  int* copy = reinterpret_cast<int*>(shared);
  copy[threadIdx.x] = values[threadIdx.x];
  values[threadIdx.x] = copy[count - 1 - threadIdx.x];
}

extern "C" __global__ void
unwaited_kernel(int* values, int count) {  // reads an asynchronous copy before waiting for it
  SHARED_MEMORY(shared);
  int* copy = reinterpret_cast<int*>(shared);
  if (static_cast<int>(threadIdx.x) < count / 4) async_copy(copy + 4 * threadIdx.x, values + 4 * threadIdx.x, true);
  async_copy_commit();
  __syncthreads();
  values[threadIdx.x] = copy[threadIdx.x];
}

extern "C" __global__ void
deadlock_kernel(int* values, int count) {
  if (threadIdx.x < 32) {
    __shfl_xor_sync(FULL_WARP, values[threadIdx.x], 1);
    __syncthreads();
  } else {
    for (int i = 0; i < 1; ++i) __syncthreads();
    __syncthreads();
    __shfl_xor_sync(FULL_WARP, values[threadIdx.x], 1);
    if (threadIdx.x == 40) __syncthreads();
    __syncwarp();
  }
}

extern "C" __global__ void
divergent_kernel(int* values, int count) {
  if (threadIdx.x % 2 == 0)
    values[threadIdx.x] = __shfl_xor_sync(FULL_WARP, values[threadIdx.x], 2);
  else
    __syncwarp();
}

extern "C" __global__ void
misaligned_kernel(int* values, int count) { store_vector(values + 1, load_vector(values)); }

extern "C" __global__ void
overrun_kernel(int* values, int count) { values[count] = 1; }

extern "C" __global__ void
scan_kernel(int* values, int count) {  // shuffles up, votes and atomics
  int sum = values[threadIdx.x];
  for (int delta = 1; delta < 32; delta *= 2) {
    const int other = __shfl_up_sync(FULL_WARP, sum, delta);
    if (static_cast<int>(threadIdx.x) % 32 >= delta) sum += other;
  }
  const unsigned odd = __ballot_sync(FULL_WARP, values[threadIdx.x] & 1);
  values[threadIdx.x] = sum;
  if (threadIdx.x % 32 == 0) atomicAdd(values + count, __popc(odd));
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source folder with the kernels above beside the real headers."""
    for header in emulation.SOURCE_FOLDER.glob("*.cuh"):
        (tmp_path / header.name).write_text(header.read_text())
    (tmp_path / "probe.cu").write_text(SOURCE)
    monkeypatch.setattr(emulation, "SOURCE_FOLDER", tmp_path)
    return tmp_path


def run(kernel: str, values: list[int], threads: int, schedule: int = 0, shared_bytes: int = 4096) -> list[int]:
    backend = EmulationBackend(schedule)
    placed = backend.place(torch.tensor(values, dtype=torch.int32))
    launch = Launch("probe", kernel, (("SEEDLS_BF16", 1),), (1, 1, 1), (threads, 1, 1), shared_bytes)
    backend.launch(launch, [placed, np.int32(threads)])
    backend.check_guards()
    return placed.tolist()


@pytest.mark.parametrize("schedule", [0, 1, 7, 8])
def test_barrier_orders_shared_memory(folder: Path, schedule: int) -> None:
    assert run("reverse", list(range(96)), 96, schedule) == list(range(95, -1, -1))


@pytest.mark.parametrize("schedule", [0, 1, 7])
def test_missing_barrier_shows(folder: Path, schedule: int) -> None:
    assert run("race", list(range(96)), 96, schedule) != list(range(95, -1, -1))


def test_missing_wait_shows(folder: Path) -> None:
    assert run("unwaited", list(range(64)), 64) != list(range(64))


def test_waiting_for_ever_is_an_error(folder: Path) -> None:
    with pytest.raises(KernelError, match=r"wait for ever|different operations|exits while others wait"):
        run("deadlock", list(range(64)), 64)


def test_divergent_warp_operation_is_an_error(folder: Path) -> None:
    with pytest.raises(KernelError, match="meet at different operations"):
        run("divergent", list(range(32)), 32)


def test_partial_warp_is_an_error(folder: Path) -> None:
    with pytest.raises(KernelError, match="exited or missing lanes"):
        run("scan", list(range(40)), 33)


def test_misaligned_vector_is_an_error(folder: Path) -> None:
    with pytest.raises(KernelError, match="misaligned 16-byte access"):
        run("misaligned", list(range(32)), 1)


def test_overrun_breaks_a_canary(folder: Path) -> None:
    with pytest.raises(AssertionError, match="outside a tensor"):
        run("overrun", list(range(32)), 32)


def test_shuffles_votes_and_atomics(folder: Path) -> None:
    values = [3 * i % 7 for i in range(64)]
    actual = run("scan", [*values, 0], 64)
    sums = [sum(values[start : i + 1]) for start in (0, 32) for i in range(start, start + 32)]
    assert actual == [*sums, sum(value % 2 for value in values)]


def test_wrong_parameters_and_sizes_are_errors(folder: Path) -> None:
    backend = EmulationBackend()
    placed = backend.place(torch.zeros(32, dtype=torch.int32))

    def launch(threads: int, shared_bytes: int = 0) -> Launch:
        return Launch("probe", "reverse", (("SEEDLS_BF16", 1),), (1, 1, 1), (threads, 1, 1), shared_bytes)

    with pytest.raises(KernelError, match="takes parameters of"):
        backend.launch(launch(32), [placed, np.int64(32)])
    with pytest.raises(KernelError, match="2048 threads"):
        backend.launch(launch(2048), [placed, np.int32(32)])
    with pytest.raises(KernelError, match="shared bytes"):
        backend.launch(launch(32, 300_000), [placed, np.int32(32)])


def test_sources_that_do_not_compile_are_named(folder: Path) -> None:
    (folder / "broken.cu").write_text(
        '#include "common.cuh"\nextern "C" __global__ void\nbroken_kernel() { nothing; }\n'
    )
    with pytest.raises(KernelError, match=r"cannot compile broken\.cu"):
        EmulationBackend().launch(Launch("broken", "broken", (("SEEDLS_BF16", 1),), (1, 1, 1), (1, 1, 1)), [])


@pytest.mark.parametrize("bits", ["fp16", "bf16"])
def test_conversions_round_like_torch(bits: str) -> None:
    """Through swiglu: silu(x) * up with x far positive is x * up, so up's rounding is all that is seen."""
    dtype = torch.float16 if bits == "fp16" else torch.bfloat16
    from model_runtime.kernels.swiglu import swiglu

    up = torch.randn(4096, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.randint(-8, 4, (4096,)).float()
    gate = torch.full((4096,), 32.0)
    gate_up = torch.cat([gate, up])[None].to(dtype)
    expected = (gate_up[:, 4096:].float() * 32.0).to(dtype)
    assert torch.equal(swiglu(EmulationBackend(), gate_up), expected)
