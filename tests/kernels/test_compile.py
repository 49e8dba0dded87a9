"""The CUDA sources compile, with nvcc and with NVRTC, and the loader asks CuPy for the right thing."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import compile_report
from benchmarks.gpu.compile_report import ARCHITECTURES, compile_variant, parse_usage
from benchmarks.gpu.variants import Variant, variants
from model_runtime.kernels import MODULES, block_attention, linear, loader
from model_runtime.kernels.launch import SOURCE_FOLDER, KernelError, Launch
from tests.cuda_emulation.backend import kernel_names

needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")

LARGEST = [
    max(
        (variant for variant in variants(bf16=True) if variant.source == source),
        key=lambda variant: (dict(variant.defines).get("ROW_TILES", 0), variant.defines),
    )
    for source in sorted({variant.source for variant in variants(bf16=True)})
]
"""The variant of each source that holds most in registers."""


def test_every_source_has_variants_and_every_operation_a_source() -> None:
    sources = {path.stem for path in SOURCE_FOLDER.glob("*.cu")}
    assert sources == {variant.source for variant in variants(True)} == set(MODULES.values())
    assert all(kernel_names(source) for source in sources)


@needs_nvcc
def test_nvcc_compiles_the_largest_variants_without_spills() -> None:
    with ThreadPoolExecutor(2) as pool:
        usages = [usage for found in pool.map(lambda each: compile_variant(each, (90,)), LARGEST) for usage in found]
    assert {usage.architecture for usage in usages} == {90}
    assert not [usage for usage in usages if usage.spill_bytes]


@pytest.mark.slow
@needs_nvcc
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bf16", [True, False])
def test_nvcc_compiles_every_variant(bf16: bool) -> None:
    with ThreadPoolExecutor(2) as pool:
        usages = [usage for found in pool.map(compile_variant, variants(bf16)) for usage in found]
    assert {usage.architecture for usage in usages} == set(ARCHITECTURES)
    assert max(usage.spill_bytes for usage in usages) <= 64


def test_report_of_ptxas_is_read() -> None:
    report = """ptxas info    : Compiling entry function 'a_kernel' for 'sm_90'
    0 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem"""
    (usage,) = parse_usage(report)
    assert (usage.kernel, usage.architecture, usage.registers) == ("a_kernel", 90, 40)
    assert (usage.spill_bytes, usage.shared_bytes) == (20, 128)


def test_a_report_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_one(variant: Variant) -> list[compile_report.Usage]:
        if len(compiled) == 2:
            raise RuntimeError("cut off")
        compiled.append(variant.source)
        return [compile_report.Usage(f"{variant.source}_kernel", 90, 40, 0, 16)]

    monkeypatch.setattr(compile_report, "compile_variant", compile_one)
    monkeypatch.setattr(compile_report, "variants", lambda bf16: variants(bf16)[:3])
    kept = tmp_path / "kept.json"
    with pytest.raises(RuntimeError, match="cut off"):
        compile_report.table(1, True, compile_report.Kept(kept))
    compiled.pop()
    assert compile_report.table(1, True, compile_report.Kept(kept)).count("| 16 | 40 |") == 3
    assert len(compiled) == 2  # the third only
    monkeypatch.setattr(compile_report, "source_digest", lambda: 1)
    with pytest.raises(RuntimeError, match="cut off"):
        compile_report.table(1, True, compile_report.Kept(kept))


def test_shared_memory_fits_the_default_limit() -> None:
    assert max(block_attention.shared_bytes(dim) for dim in block_attention.HEAD_DIMS) <= 48 * 1024
    assert max(linear.shared_bytes(outs, rows) for outs, rows in ((1, 16), (2, 8))) <= 48 * 1024


def nvrtc_path() -> Path | None:
    """The NVRTC library of an installed package, or None."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = [path for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so.*"))]
    return found[0] if found else None


def compile_with_nvrtc(library: Path, variant: Variant, architecture: int) -> tuple[int, str]:
    """(result code, log); no CUDA header is offered, as on a machine with CuPy and a driver alone."""
    nvrtc, program = ctypes.CDLL(str(library)), ctypes.c_void_p()
    text = (SOURCE_FOLDER / f"{variant.source}.cu").read_bytes()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"kernel.cu", 0, None, None) == 0
    options = [*loader.compile_options(variant.defines), f"--gpu-architecture=sm_{architecture}"]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    result = nvrtc.nvrtcCompileProgram(program, len(options), array)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return int(result), log.value.decode()


@pytest.mark.skipif(nvrtc_path() is None, reason="NVRTC is not installed (package nvidia-cuda-nvrtc)")
@pytest.mark.parametrize("architecture", [80])
def test_nvrtc_compiles_every_source_without_headers(architecture: int) -> None:
    library = nvrtc_path()
    assert library is not None
    for variant in LARGEST:
        code, log = compile_with_nvrtc(library, variant, architecture)
        assert code == 0, f"{variant.source}: {log}"


class _FakeCupy(SimpleNamespace):
    """Records what the loader asks CuPy for."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__(modules=[], launches=[])
        outer = self

        class Context:
            def __init__(self, *_: Any) -> None: ...
            def __enter__(self) -> None: ...
            def __exit__(self, *_: Any) -> None: ...

        class Function:
            max_dynamic_shared_size_bytes = 0

            def __call__(self, grid: Any, block: Any, given: Any, shared_mem: int) -> None:
                outer.launches.append((grid, block, given, shared_mem, self.max_dynamic_shared_size_bytes))

        class RawModule:
            def __init__(self, code: str, options: tuple[str, ...], backend: str) -> None:
                outer.modules.append((code, options, backend))

            def compile(self) -> None:
                if fails:
                    raise RuntimeError("nvrtc: error: invalid value for --gpu-architecture\nmore")

            def get_function(self, name: str) -> Function:
                outer.name = name
                return Function()

        class Stream(Context):
            @staticmethod
            def from_external(stream: Any) -> Context:
                outer.stream = stream.__cuda_stream__()
                return Context()

        self.RawModule = RawModule
        self.cuda = SimpleNamespace(Device=Context, Stream=Stream)


def fake_backend(
    monkeypatch: pytest.MonkeyPatch, cupy: Any, capability: tuple[int, int] = (9, 0)
) -> loader.CudaBackend:
    """A CudaBackend over the fake CuPy and a card that does not exist."""
    properties = SimpleNamespace(name="Card", major=capability[0], minor=capability[1], multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=77))
    monkeypatch.setattr(torch, "zeros", lambda *a, **k: torch.tensor([0], dtype=torch.int32))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return loader.CudaBackend(torch.device("cuda", 0))


def test_loader_compiles_once_and_passes_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = _FakeCupy()
    backend = fake_backend(monkeypatch, cupy)
    tensor = torch.ones(4)
    launch = Launch("swiglu", "swiglu", (("SEEDLS_BF16", 1),), (2, 1, 1), (64, 1, 1), 60_000)
    for _ in range(2):
        backend.launch(launch, [tensor, None, np.int32(7), np.float32(0.5)])
    ((code, options, compiler),) = cupy.modules
    assert code == (SOURCE_FOLDER / "swiglu.cu").read_text()
    assert compiler == "nvrtc"
    assert "-DSEEDLS_BF16=1" in options
    assert f"-I{SOURCE_FOLDER}" in options
    grid, block, given, shared, limit = cupy.launches[0]
    assert (grid, block, shared, limit) == ((2, 1, 1), (64, 1, 1), 60_000, 60_000)
    assert [value.nbytes for value in given] == [8, 8, 4, 4]
    assert [float(value) for value in given] == [tensor.data_ptr(), 0, 7, 0.5]
    assert cupy.stream == (0, 77)
    assert cupy.name == "swiglu_kernel"


def test_sources_are_compiled_side_by_side_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = _FakeCupy()
    backend = fake_backend(monkeypatch, cupy)
    wanted = [(variant.source, variant.defines) for variant in variants(True)]
    assert not backend.compile_ahead([*wanted, *wanted[:3]], threads=4)
    assert len(cupy.modules) == len(wanted)
    backend.launch(Launch(*wanted[0][:1], wanted[0][0], wanted[0][1], (1, 1, 1), (32, 1, 1)), [])
    assert len(cupy.modules) == len(wanted)
    (failure,) = fake_backend(monkeypatch, _FakeCupy(fails=True)).compile_ahead(wanted[:1], threads=1)
    assert "does not compile for Card (sm_90)" in failure


def test_loader_names_what_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KernelError, match=r"Card \(sm_75\) is older than sm_80"):
        fake_backend(monkeypatch, _FakeCupy(), (7, 5))
    backend = fake_backend(monkeypatch, _FakeCupy(fails=True))
    launch = Launch("swiglu", "swiglu", (("SEEDLS_BF16", 1),), (1, 1, 1), (64, 1, 1))
    with pytest.raises(
        KernelError, match=r"swiglu\.cu does not compile for Card \(sm_90\): nvrtc: error: invalid value"
    ):
        backend.launch(launch, [])
    with pytest.raises(KernelError, match="CuPy cannot be imported"):
        fake_backend(monkeypatch, None)
