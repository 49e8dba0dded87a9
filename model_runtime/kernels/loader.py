"""Runs the `.cu` files of this folder on a CUDA device: compiled by NVRTC through CuPy, launched on torch's stream.

A source is compiled once per device and set of compile parameters (always `-D`, never text substitution); CuPy keeps
the binaries on disk, keyed also by the content of our headers. Launches inside a torch graph capture are captured,
provided the same launch ran once before: compiling and loading are not allowed during capture. Knows no operation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from model_runtime.kernels.launch import SOURCE_FOLDER, Argument, KernelError, Launch

MIN_CAPABILITY = (8, 0)
"""bfloat16 tensor cores and asynchronous copies begin with sm_80."""
_NUM_COUNTERS = 16384
_STATIC_SHARED_LIMIT = 48 * 1024
"""Above this a kernel must ask for its dynamic shared memory."""


def source_digest() -> int:
    """32 bits that change with any source, so that no cache can serve a binary of older headers."""
    content = b"".join(path.read_bytes() for path in sorted(SOURCE_FOLDER.iterdir()) if path.suffix in (".cu", ".cuh"))
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big")


def compile_options(defines: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """NVRTC options of one variant."""
    parameters = (*defines, ("SEEDLS_SOURCES", source_digest()))
    return ("-std=c++17", f"-I{SOURCE_FOLDER}", *(f"-D{name}={value}" for name, value in parameters))


@dataclass(frozen=True, slots=True)
class _TorchStream:
    """Torch's current stream under the CUDA stream protocol that CuPy 14 reads."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.address)


class CudaBackend:
    """A device with its loaded modules. Raises KernelError where CuPy, NVRTC or the card cannot serve."""

    def __init__(self, device: torch.device) -> None:
        if not torch.cuda.is_available():
            raise KernelError("torch sees no CUDA device")
        self.device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
        properties = torch.cuda.get_device_properties(self.device)
        self.name = f"{properties.name} (sm_{properties.major}{properties.minor})"
        if (properties.major, properties.minor) < MIN_CAPABILITY:
            raise KernelError(f"{self.name} is older than sm_{MIN_CAPABILITY[0]}{MIN_CAPABILITY[1]}")
        self.num_multiprocessors = int(properties.multi_processor_count)
        self._cupy = _import_cupy()
        self._functions: dict[tuple[str, str, tuple[tuple[str, int], ...]], Any] = {}
        self._modules: dict[tuple[str, tuple[tuple[str, int], ...]], Any] = {}
        self._counters = torch.zeros(_NUM_COUNTERS, dtype=torch.int32, device=self.device)

    def launch(self, launch: Launch, arguments: Sequence[Argument]) -> None:
        """Queue the kernel on torch's current stream of this device."""
        function = self._function(launch)
        given = tuple(_argument(argument) for argument in arguments)
        with self._cupy.cuda.Device(self.device.index), self._stream():
            function(launch.grid, launch.block, given, shared_mem=launch.shared_bytes)

    def compile_ahead(self, wanted: Iterable[tuple[str, tuple[tuple[str, int], ...]]], threads: int) -> list[str]:
        """Compile (source, defines) side by side; returns what failed. Afterwards their launches find them compiled.

        Compiling one takes a second or more the first time on a machine; the compiler lets other threads run.
        """

        def compile_one(each: tuple[str, tuple[tuple[str, int], ...]]) -> str | None:
            try:
                self._module(*each)
            except KernelError as failure:
                return str(failure)
            return None

        with ThreadPoolExecutor(threads) as pool:
            return [failure for failure in pool.map(compile_one, dict.fromkeys(wanted)) if failure is not None]

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Memory from torch's allocator (and its private pool during capture)."""
        return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def counters(self, count: int) -> torch.Tensor:
        """int32 zeros; kernels leave them at zero, and one stream at a time uses them."""
        if count > _NUM_COUNTERS:
            raise KernelError(f"a launch asks for {count} counters, there are {_NUM_COUNTERS}")
        return self._counters[:count]

    def _stream(self) -> Any:
        address = torch.cuda.current_stream(self.device).cuda_stream
        if hasattr(self._cupy.cuda.Stream, "from_external"):
            return self._cupy.cuda.Stream.from_external(_TorchStream(address))
        return self._cupy.cuda.ExternalStream(address)

    def _function(self, launch: Launch) -> Any:
        key = (launch.source, launch.kernel, launch.defines)
        if key not in self._functions:
            function = self._module(launch.source, launch.defines).get_function(f"{launch.kernel}_kernel")
            if launch.shared_bytes > _STATIC_SHARED_LIMIT:
                function.max_dynamic_shared_size_bytes = launch.shared_bytes
            self._functions[key] = function
        return self._functions[key]

    def _module(self, source: str, defines: tuple[tuple[str, int], ...]) -> Any:
        key = (source, defines)
        if key not in self._modules:
            text = (SOURCE_FOLDER / f"{source}.cu").read_text()
            try:
                with self._cupy.cuda.Device(self.device.index):
                    module = self._cupy.RawModule(code=text, options=compile_options(defines), backend="nvrtc")
                    module.compile()
            except Exception as failure:  # CuPy raises several unrelated types here
                first_line = str(failure).strip().splitlines()[:1] or [type(failure).__name__]
                raise KernelError(f"{source}.cu does not compile for {self.name}: {first_line[0]}") from failure
            self._modules[key] = module
        return self._modules[key]


def _import_cupy() -> Any:
    try:
        import cupy
    except Exception as failure:  # a CuPy for another CUDA fails with OSError, a broken one with anything
        raise KernelError(f"CuPy cannot be imported ({failure}); install seedls[cuda12] or seedls[cuda13]") from failure
    return cupy


def _argument(argument: Argument) -> Any:
    """What CuPy packs as a parameter: 8 bytes for a pointer, a numpy scalar's own bytes otherwise."""
    if argument is None:
        return np.uint64(0)
    if isinstance(argument, torch.Tensor):
        return np.uint64(argument.data_ptr())
    return argument
