"""A kernel backend that compiles the `.cu` files with g++ and runs them on the CPU (see cuda_emulation.h).

Owns compilation (cached by the content of the sources), calling through ctypes, and guarded memory: every tensor it
hands out starts as NaN bytes and sits between canaries that `check_guards` looks at. Knows no operation.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from model_runtime.kernels.launch import SOURCE_FOLDER, Argument, KernelError, Launch

HEADER_FOLDER = Path(__file__).parent
_GUARD_BYTES = 256
_CANARY = 0xFF  # NaN in float32, float16 and bfloat16: reading a guard is as visible as writing it
_FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-Wall", "-Wno-unknown-pragmas", "-Werror")

_EXPORT = """
extern "C" int launch_{kernel}(const unsigned* grid, const unsigned* block, size_t shared_bytes, unsigned schedule,
                               void** given, int num_given) {{
  return cuda_emulation::launch({kernel}, grid, block, shared_bytes, schedule, given, num_given);
}}
extern "C" int parameters_{kernel}(int* sizes) {{ return cuda_emulation::parameter_sizes({kernel}, sizes); }}
"""


def compiler() -> str | None:
    """Path of a C++ compiler that can build the emulation, or None."""
    return shutil.which("g++")


def kernel_names(source: str) -> list[str]:
    """Entry points of `cuda/<source>.cu`."""
    text = (SOURCE_FOLDER / f"{source}.cu").read_text()
    for include in re.findall(r'#include "(\w+\.cuh)"', text):
        text += (SOURCE_FOLDER / include).read_text()
    return re.findall(r'extern "C" __global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+_kernel)\(', text)


def _digest(folder: Path, suffixes: tuple[str, ...]) -> bytes:
    files = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    return b"".join(path.name.encode() + path.read_bytes() for path in files)


@cache
def library(source: str, defines: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    """The shared library of one source file under these compile parameters, built if its content has changed."""
    key = hashlib.sha256(
        _digest(SOURCE_FOLDER, (".cuh",))
        + (SOURCE_FOLDER / f"{source}.cu").read_bytes()
        + _digest(HEADER_FOLDER, (".h", ".py"))
        + repr((defines, _FLAGS)).encode()
    ).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"seedls-cuda-emulation-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{source}-{key}.so"
    if not target.exists():
        _compile(source, defines, target)
    loaded = ctypes.CDLL(str(target))
    loaded.emulation_error.restype = ctypes.c_char_p
    return loaded


def _compile(source: str, defines: tuple[tuple[str, int], ...], target: Path) -> None:
    text = f'#include "{source}.cu"\nextern "C" const char* emulation_error() {{ return cuda_emulation::error; }}\n'
    text += "".join(_EXPORT.format(kernel=kernel) for kernel in kernel_names(source))
    options = ["-DSEEDLS_CUDA_EMULATION", *(f"-D{name}={value}" for name, value in defines)]
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        unit, built = Path(work) / f"{source}.cpp", Path(work) / "built.so"
        unit.write_text(text)
        command = [compiler() or "g++", *_FLAGS, *options, f"-I{HEADER_FOLDER}", f"-I{SOURCE_FOLDER}"]
        result = subprocess.run([*command, str(unit), "-o", str(built)], capture_output=True, text=True, check=False)
        if result.returncode:
            raise KernelError(f"g++ cannot compile {source}.cu for the emulation:\n{result.stderr}")
        built.replace(target)


class EmulationBackend:
    """Runs launches on the CPU, in a chosen order of threads and blocks, in memory it guards."""

    def __init__(self, schedule: int = 0, num_multiprocessors: int = 4) -> None:
        self.device = torch.device("cpu")
        self.num_multiprocessors = num_multiprocessors
        self.schedule = schedule
        self.num_launches = 0
        self._guarded: list[tuple[torch.Tensor, int, int]] = []
        self._counters = self.place(torch.zeros(16384, dtype=torch.int32))

    def launch(self, launch: Launch, arguments: Sequence[Argument]) -> None:
        """Run to completion; raises KernelError with the emulator's message when the kernel breaks a rule of CUDA."""
        built = library(launch.source, launch.defines)
        name = f"{launch.kernel}_kernel"
        given = [_argument(argument) for argument in arguments]
        sizes = (ctypes.c_int * 64)()
        count = getattr(built, f"parameters_{name}")(sizes)
        if [ctypes.sizeof(value) for value in given] != list(sizes)[:count]:
            raise KernelError(f"{name} takes parameters of {list(sizes)[:count]} bytes, was given {arguments}")
        pointers = (ctypes.c_void_p * len(given))(*(ctypes.addressof(value) for value in given))
        failed = getattr(built, f"launch_{name}")(
            (ctypes.c_uint * 3)(*launch.grid),
            (ctypes.c_uint * 3)(*launch.block),
            ctypes.c_size_t(launch.shared_bytes),
            ctypes.c_uint(self.schedule),
            pointers,
            len(given),
        )
        self.num_launches += 1
        if failed:
            raise KernelError(f"{name}: {built.emulation_error().decode()}")

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Memory full of NaN bytes, between canaries."""
        size = int(np.prod(shape)) * dtype.itemsize
        padded = -(-size // 16) * 16
        raw = torch.full((padded + 2 * _GUARD_BYTES + 16,), _CANARY, dtype=torch.uint8)
        start = _GUARD_BYTES + (-raw.data_ptr()) % 16
        self._guarded.append((raw, start, size))
        return raw[start : start + size].view(dtype).view(*shape)

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of `tensor` in guarded memory."""
        placed = self.empty(tuple(tensor.shape), tensor.dtype)
        placed.copy_(tensor)
        return placed

    def counters(self, count: int) -> torch.Tensor:
        """int32 zeros shared by all launches."""
        return self._counters[:count]

    def check_guards(self) -> None:
        """Raise AssertionError if a kernel wrote outside a tensor or left a counter that is not zero."""
        for raw, start, size in self._guarded:
            outside = torch.cat([raw[:start], raw[start + size :]])
            assert bool((outside == _CANARY).all()), f"a kernel wrote outside a tensor of {size} bytes"
        assert not self._counters.any(), "a kernel left a counter that is not zero"


def _argument(argument: Argument) -> ctypes._SimpleCData:  # type: ignore[type-arg]
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    kinds = {"int32": ctypes.c_int32, "int64": ctypes.c_int64, "float32": ctypes.c_float}
    return kinds[argument.dtype.name](argument.item())
