"""The operation table: for each operation a CUDA kernel or its plain torch reference, behind one signature.

`load_kernels` chooses once; every operation can be switched to its reference for validation, and one whose kernel
cannot be compiled falls back by itself with one log line. Knows no model. Importing this package imports no torch.

    operation          kernel                    what it fuses
    rms_norm           cuda/rms_norm.cu          residual addition + normalisation
    qkv_rope_write     cuda/qkv_rope_write.cu    bias + rotary embedding + cache write
    block_attention    cuda/block_attention.cu   causal rows + canvas rows over a long cache, split along the keys
    swiglu             cuda/swiglu.cu            silu(gate) * up
    linear_*           cuda/linear_*.cu          16-, 8-, 4-bit weights + bias + gated low-rank adapter
    head_argmax        cuda/head_argmax.cu       head + softmax + argmax + commit decision
    commit_run         cuda/commit_run.cu        accepted run + next step's rows
    canvas_*           cuda/canvas.cu            mask again, insert, delete
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from model_runtime.kernels.launch import Backend

_LOG = logging.getLogger(__name__)

MODULES = {
    "rms_norm": "rms_norm",
    "qkv_rope_write": "qkv_rope_write",
    "block_attention": "block_attention",
    "swiglu": "swiglu",
    "linear_dense": "linear_dense",
    "linear_int8": "linear_int8",
    "linear_int4": "linear_int4",
    "head_argmax": "head_argmax",
    "commit_run": "commit_run",
    "canvas_renoise": "canvas",
    "canvas_rebuild": "canvas",
    "canvas_insert": "canvas",
    "canvas_delete": "canvas",
}
"""Operation -> the module of this package that launches its kernel."""


class Operation:
    """One operation, callable with the signature of its reference."""

    def __init__(self, name: str, backend: Backend | None) -> None:
        self.name = name
        self._backend = backend
        self._reference: Callable[..., Any] = getattr(import_module("model_runtime.kernels.reference"), name)
        self._kernel: Callable[..., Any] | None = None
        if backend is not None:
            self._kernel = getattr(import_module(f"model_runtime.kernels.{MODULES[name]}"), name)

    @property
    def is_kernel(self) -> bool:
        """True while calls go to the CUDA kernel."""
        return self._kernel is not None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the kernel, or the reference. A kernel that cannot run is replaced for good; bad arguments raise."""
        if self._kernel is not None:
            from model_runtime.kernels.launch import KernelError

            try:
                return self._kernel(self._backend, *arguments, **named)
            except KernelError as failure:
                _LOG.warning("%s falls back to plain torch: %s", self.name, failure)
                self._kernel = None
        return self._reference(*arguments, **named)


class Kernels:
    """All operations of one device. Attributes are named as in `reference.py`."""

    def __init__(self, backend: Backend | None, reason: str, use_reference: Collection[str] = ()) -> None:
        unknown = sorted(set(use_reference) - set(MODULES))
        if unknown:
            raise ValueError(f"unknown operation {unknown[0]!r} (known: {', '.join(MODULES)})")
        self.reason = reason
        self.operations = {name: Operation(name, None if name in use_reference else backend) for name in MODULES}
        self.rms_norm = self.operations["rms_norm"]
        self.qkv_rope_write = self.operations["qkv_rope_write"]
        self.block_attention = self.operations["block_attention"]
        self.swiglu = self.operations["swiglu"]
        self.linear_dense = self.operations["linear_dense"]
        self.linear_int8 = self.operations["linear_int8"]
        self.linear_int4 = self.operations["linear_int4"]
        self.head_argmax = self.operations["head_argmax"]
        self.commit_run = self.operations["commit_run"]
        self.canvas_renoise = self.operations["canvas_renoise"]
        self.canvas_rebuild = self.operations["canvas_rebuild"]
        self.canvas_insert = self.operations["canvas_insert"]
        self.canvas_delete = self.operations["canvas_delete"]

    @property
    def are_active(self) -> bool:
        """True when at least one operation runs as a kernel."""
        return any(operation.is_kernel for operation in self.operations.values())

    def describe(self) -> list[str]:
        """One line on the whole table, then one for each operation where they differ. For `seedls doctor`."""
        states = {name: operation.is_kernel for name, operation in self.operations.items()}
        if not any(states.values()):
            return [f"kernels: plain torch ({self.reason})"]
        lines = [f"kernels: CUDA, {self.reason}"]
        return lines + [f"  {name}: plain torch" for name, is_kernel in states.items() if not is_kernel]


def load_kernels(
    device: torch.device | str,
    dtype: torch.dtype | None = None,
    use_kernels: bool = True,
    use_reference: Collection[str] = (),
) -> Kernels:
    """The operation table for a device and activation type; logs one line where kernels were wanted but cannot run.

    `use_reference` names operations to leave to plain torch, for validation. Never raises for a missing CuPy, NVRTC or
    an unsupported card.
    """
    import torch

    from model_runtime.kernels.launch import KernelError

    wanted = torch.device(device)
    if not use_kernels:
        return Kernels(None, "switched off", use_reference)
    if wanted.type != "cuda":
        return Kernels(None, f"the device is {wanted.type}", use_reference)
    if dtype not in (None, torch.bfloat16, torch.float16):
        _LOG.warning("CUDA kernels are off: they compute in bfloat16 or float16, not %s", dtype)
        return Kernels(None, f"activations are {dtype}", use_reference)
    from model_runtime.kernels.loader import CudaBackend

    try:
        backend = CudaBackend(wanted)
    except KernelError as failure:
        _LOG.warning("CUDA kernels are off: %s", failure)
        return Kernels(None, str(failure), use_reference)
    return Kernels(backend, backend.name, use_reference)
