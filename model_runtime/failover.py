"""What to do when the device cannot go on: answer from the CPU, and say so.

At load: where `auto` chose the device and it cannot hold the model or fails. Later: whatever was asked for, because an
answer that comes late is better than none. Owns the rule and its words; loading and serving are the runtime's.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from model_runtime.config import RuntimeConfig
from model_runtime.cuda_path.failures import is_device_failure, is_out_of_memory
from model_runtime.errors import OutOfMemory

_LOG = logging.getLogger(__name__)


def reason_to_leave(error: BaseException) -> str | None:
    """Why the CPU has to take over after this error, in words for the user; None where the device is not at fault."""
    if isinstance(error, OutOfMemory):
        return str(error)
    if not is_device_failure(error):
        return None
    what = "the GPU is out of memory" if is_out_of_memory(error) else "the GPU failed"
    lines = str(error).strip().splitlines()
    return f"{what}: {lines[0][:200] if lines else type(error).__name__}"


def cpu_at_load(config: RuntimeConfig, device: torch.device, error: BaseException) -> tuple[RuntimeConfig, str] | None:
    """(configuration for the CPU, reason), logged; None where the error stands.

    It stands where the CPU was the device, or where the user asked for the device or a precision by name: then they
    are told instead.
    """
    reason = reason_to_leave(error)
    if reason is None or device.type == "cpu" or config.device != "auto" or config.precision != "auto":
        return None
    return on_cpu(config, reason), reason


def on_cpu(config: RuntimeConfig, reason: str) -> RuntimeConfig:
    """The same model on the CPU; logs why."""
    _LOG.warning("going on with the CPU: %s", reason)
    return replace(config, device="cpu", precision="auto")


def release_device_memory() -> None:
    """Give cached memory back; a device that is lost refuses, which changes nothing."""
    try:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    except Exception as error:
        if not is_device_failure(error):
            raise
        _LOG.info("the device's memory could not be released: %s", type(error).__name__)
