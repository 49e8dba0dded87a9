"""Which errors mean that the device, not the request, is at fault: out of memory, or a card that is lost.

Reads error types and texts only; decides nothing about what to do.
"""

from __future__ import annotations

import torch

_LOST = (
    "cuda error",
    "cudaerror",
    "cuda_error",
    "device-side assert",
    "unspecified launch failure",
    "illegal memory access",
    "cublas_status",
    "no cuda-capable device",
    "cuda driver",
    "gpu is lost",
    "uncorrectable ecc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for a failed allocation on the device: the device lives, this does not fit."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return _comes_from_cuda(error) and "out of memory" in str(error).lower()


def is_device_lost(error: BaseException) -> bool:
    """True for an error after which the process cannot use the device again (a CUDA error is kept until it ends)."""
    if "captur" in str(error).lower():
        return False  # a capture that was broken off leaves the device as it was
    return _comes_from_cuda(error) and not is_out_of_memory(error)


def is_device_failure(error: BaseException) -> bool:
    """Either of the two."""
    return is_out_of_memory(error) or is_device_lost(error)


def _comes_from_cuda(error: BaseException) -> bool:
    """By type where torch and CuPy have one, else by the text: torch raises plain RuntimeError in many places."""
    accelerator_error = getattr(torch, "AcceleratorError", None)
    if accelerator_error is not None and isinstance(error, accelerator_error):
        return True
    if type(error).__module__.split(".")[0] in ("cupy", "cupy_backends"):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in (*_LOST, "cuda out of memory"))
