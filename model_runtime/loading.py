"""From a checkpoint on disk to a network on a device: where, in which precision, with which adapters merged.

Owns those choices. It does not know requests or decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.adapters import Adapter, adapter_paths, merged_weight, read_adapter
from model_runtime.checkpoint import Checkpoint, expected_shapes
from model_runtime.config import RuntimeConfig
from model_runtime.cuda_path.load import load_fused
from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.errors import CheckpointMismatch, OutOfMemory, RequestError
from model_runtime.kernels import Kernels
from model_runtime.layers.linear import FloatLinear, Int8Linear, Linear, has_int8_products
from model_runtime.layers.low_rank import Factors
from model_runtime.models import network_class
from model_runtime.models.qwen2 import Denoiser, Qwen2
from model_runtime.packed_linears import PackedLinears

LoadProgress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network runs and what its products are computed in."""

    device: torch.device
    precision: str
    """`float32`, `bfloat16`, `float16`, `int8` or `int4`."""
    use_kernels: bool = True
    """Off for validation: plain torch on CUDA too."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of keys, values and attention."""
        kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        # Packed weights are multiplied in the device's own type.
        return kinds.get(self.precision, torch.float32 if self.device.type == "cpu" else torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Adapters:
    """What is added to a base at load."""

    healing: Adapter | None = None
    """Merged into the weights: with it they are "the base"."""
    mask: Adapter | None = None
    """Acts on masked canvas rows only."""

    @property
    def kinds(self) -> str:
        """The ones there are, for people."""
        return " + ".join(each.kind for each in (self.healing, self.mask) if each is not None)

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """(kind, sha256 of its file) of each."""
        return tuple((each.kind, each.digest) for each in (self.healing, self.mask) if each is not None)


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
    return Placement(device, precision, config.use_kernels)


def load_network(
    checkpoint: Checkpoint,
    placement: Placement,
    num_positions: int,
    adapters: Adapters | None = None,
    progress: LoadProgress | None = None,
    kernels: Kernels | None = None,
    packed: PackedLinears | None = None,
) -> Qwen2 | FusedNetwork:
    """Read, merge and place every weight; CheckpointMismatch if shapes differ, OutOfMemory with the figure needed.

    On CUDA through the kernels where they can run; `kernels` is an operation table to use whatever the device.
    `packed` keeps 8-bit rows for the CPU from one load to the next.
    """
    checkpoint.verify_shapes()
    healing, mask = (adapters.healing, adapters.mask) if adapters is not None else (None, None)
    for each in (healing, mask):
        if each is not None:
            _check_fit(checkpoint, each)
    num_tensors = len(expected_shapes(checkpoint.config))
    num_read = 0

    def read(name: str) -> Tensor:
        nonlocal num_read
        num_read += 1
        if progress is not None and num_read % 12 == 0:
            progress("Loading weights", min(1.0, num_read / num_tensors))
        weight = checkpoint.read(name)
        if weight.dim() == 1 or "_proj." not in name:
            # Kept as it is: a copy, or this one view would keep the whole file mapped and counted as our memory.
            weight = weight.clone()
        return weight if healing is None else merged_weight(weight, healing, name)

    def make_linear(weight: Tensor, bias: Tensor | None) -> Linear:
        if placement.precision == "int8":
            return Int8Linear(weight, bias) if packed is None else packed.make_linear(weight, bias)
        weight = weight.to(placement.device, placement.dtype)
        return FloatLinear(weight, None if bias is None else bias.to(placement.device, placement.dtype))

    denoiser = None if mask is None else _denoiser(mask)
    try:
        if kernels is not None or placement.device.type == "cuda":
            fused = load_fused(checkpoint.config, read, placement, num_positions, denoiser, kernels)
            if fused is not None:
                return fused
        if placement.precision == "int4" or (placement.precision == "int8" and placement.device.type == "cuda"):
            use = "int8" if placement.device.type == "cpu" else "bfloat16 or float16"
            raise RequestError(f"precision {placement.precision!r} of this model needs the CUDA kernels; use {use}")
        return network_class(checkpoint.config.architecture)(
            checkpoint.config,
            read if packed is None else packed.reader(read, checkpoint.shape),
            make_linear,
            num_positions=num_positions,
            dtype=placement.dtype,
            device=placement.device,
            denoiser=denoiser,
        )
    except torch.cuda.OutOfMemoryError:
        needed = sum(math.prod(shape) for shape in expected_shapes(checkpoint.config).values()) * 2 / 2**30
        raise OutOfMemory(f"{checkpoint.path} needs about {needed:.1f} GiB on {placement.device}") from None


def read_adapters(checkpoint_folder: Path, model_folder: Path | None) -> Adapters:
    """The adapters that belong to a model: beside its weights, else those that ship with it."""
    paths = adapter_paths(checkpoint_folder, model_folder)
    return Adapters(**{kind: read_adapter(path) for kind, path in paths.items()})


def _denoiser(adapter: Adapter) -> Denoiser:
    def factors_of(name: str) -> Factors | None:
        low_rank = adapter.factors.get(name)
        return None if low_rank is None else Factors(low_rank.a, low_rank.b * adapter.scale)

    if adapter.mask_embedding is None:
        raise CheckpointMismatch("the mask adapter has no mask embedding")
    return Denoiser(factors_of, adapter.mask_embedding)


def _check_fit(checkpoint: Checkpoint, adapter: Adapter) -> None:
    """CheckpointMismatch naming the first weight that the adapter changes and this checkpoint does not have so."""
    names = set(checkpoint.names())
    for name, low_rank in adapter.factors.items():
        wanted = (low_rank.b.shape[0], low_rank.a.shape[1])
        if name not in names or checkpoint.shape(name) != wanted:
            has = list(checkpoint.shape(name)) if name in names else "no such weight"
            raise CheckpointMismatch(f"the {adapter.kind} adapter changes {name!r} of shape {list(wanted)}: {has}")
