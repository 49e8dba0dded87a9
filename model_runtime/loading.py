"""From a checkpoint on disk to a network on a device: where, in which precision, with which adapters merged.

Owns those choices. It does not know requests or decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.adapters import Adapter, merged_weight
from model_runtime.checkpoint import Checkpoint, expected_shapes
from model_runtime.config import RuntimeConfig
from model_runtime.errors import OutOfMemory, RequestError
from model_runtime.layers.linear import FloatLinear, Int8Linear, Linear, has_int8_products
from model_runtime.models import network_class
from model_runtime.models.qwen2 import Qwen2

LoadProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network runs and what its products are computed in."""

    device: torch.device
    precision: str
    """`float32`, `bfloat16`, `float16` or `int8`."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of keys, values and attention."""
        kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.float32}
        return kinds[self.precision]


def choose_placement(config: RuntimeConfig) -> Placement:
    """Device and precision of a configuration; RequestError naming a device or precision that cannot be had."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RequestError(f"unknown device {config.device!r} (use auto, cpu, cuda or cuda:N)") from None
    if device.type not in ("cpu", "cuda"):
        raise RequestError(f"device {config.device!r} is not supported (use auto, cpu, cuda or cuda:N)")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RequestError(f"device {config.device!r} asked for, but torch {torch.__version__} sees no CUDA device")
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "int8" if has_int8_products() else "float32"
    if precision == "int8" and device.type != "cpu":
        raise RequestError("precision 'int8' runs on the CPU; use bfloat16 or float16 on CUDA")
    return Placement(device, precision)


def load_network(
    checkpoint: Checkpoint,
    placement: Placement,
    num_positions: int,
    adapter: Adapter | None = None,
    progress: LoadProgress | None = None,
) -> Qwen2:
    """Read, merge and place every weight; CheckpointMismatch if shapes differ, OutOfMemory with the figure needed."""
    checkpoint.verify_shapes()
    num_tensors = len(expected_shapes(checkpoint.config))
    num_read = 0

    def read(name: str) -> Tensor:
        nonlocal num_read
        num_read += 1
        if progress is not None and num_read % 12 == 0:
            progress("Loading weights", min(1.0, num_read / num_tensors))
        weight = checkpoint.read(name)
        return weight if adapter is None else merged_weight(weight, adapter, name)

    def make_linear(weight: Tensor, bias: Tensor | None) -> Linear:
        if placement.precision == "int8":
            return Int8Linear(weight, bias)
        weight = weight.to(placement.device, placement.dtype)
        return FloatLinear(weight, None if bias is None else bias.to(placement.device, placement.dtype))

    try:
        return network_class(checkpoint.config.architecture)(
            checkpoint.config,
            read,
            make_linear,
            num_positions=num_positions,
            dtype=placement.dtype,
            device=placement.device,
        )
    except torch.cuda.OutOfMemoryError:
        needed = sum(_product(shape) for shape in expected_shapes(checkpoint.config).values()) * 2 / 2**30
        raise OutOfMemory(f"{checkpoint.path} needs about {needed:.1f} GiB on {placement.device}") from None


def healing_adapter(checkpoint_folder: Path, model_folder: Path | None) -> Path | None:
    """The healing adapter that belongs to a model, if one ships with it."""
    for folder in (checkpoint_folder, model_folder):
        if folder is not None and (folder / "healing.safetensors").is_file():
            return folder / "healing.safetensors"
    return None


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
