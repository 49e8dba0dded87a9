"""From a published checkpoint of any family to its network on a device, tensor by tensor.

Each weight is read, put into the precision asked for in slices of rows, moved and forgotten: the file's bytes are never
all in memory. It does not know prompts or decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from model_runtime.checkpoint import Checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.errors import CheckpointMismatch, OutOfMemory, RequestError
from model_runtime.families.config import FamilyConfig
from model_runtime.families.names import family_shapes, weight_names
from model_runtime.kernels.formats import Int4Weight, Int8Weight
from model_runtime.layers.linear import FloatLinear, Int8Linear, Linear, quantize_rows
from model_runtime.loading import LoadProgress, Placement, choose_placement
from model_runtime.memory import PRECISIONS, available_bytes, check_memory, memory_need
from model_runtime.models.decoder import Decoder
from model_runtime.quantization import (
    ROWS_AT_ONCE,
    SCALES,
    VALUES,
    Bits,
    PackedLinear,
    can_pack,
    expanded,
    from_stored,
    joined,
    quantized,
    row_slices,
)

_BITS_OF: dict[str, Bits] = {"int8": 8, "int4": 4}


def choose_family_placement(config: RuntimeConfig, family_config: FamilyConfig, available: int | None) -> Placement:
    """Device and precision; `auto` takes the finest precision that fits into `available` bytes."""
    packed = str(config.precision) in _BITS_OF
    base = choose_placement(RuntimeConfig(device=config.device, precision="auto" if packed else config.precision))
    if packed:
        precision = str(config.precision)
    elif config.precision != "auto":
        return base
    else:
        choices = ("bfloat16", "int8", "int4") if base.device.type == "cuda" else ("int8", "int4")
        if family_config.quantization is not None:
            choices = ("int8", "int4") if family_config.quantization.bits == 8 else ("int4", "int4")
        on_cpu = base.device.type == "cpu"
        needs = [memory_need(family_config, each, config.cache_tokens, on_cpu=on_cpu) for each in choices]
        fitting = [need.precision for need in needs if available is None or need.total <= available]
        precision = fitting[0] if fitting else choices[-1]
    return Placement(base.device, precision)


def load_family_network(
    checkpoint: Checkpoint,
    config: RuntimeConfig,
    progress: LoadProgress | None = None,
    make_reader: ReaderClass | None = None,
) -> tuple[Decoder, Placement, WeightReader]:
    """CheckpointMismatch if tensors are not as configured, OutOfMemory with the figure before anything is read."""
    family_config = checkpoint.family
    if family_config is None:
        raise CheckpointMismatch(f"{checkpoint.path} is not a checkpoint of the family table")
    checkpoint.verify_shapes()
    family_config = _with_own_head(checkpoint, family_config)
    device = choose_placement(RuntimeConfig(device=config.device)).device
    available = available_bytes(device)
    placement = choose_family_placement(config, family_config, available)
    if placement.precision not in PRECISIONS:
        raise RequestError(f"unknown precision {placement.precision!r} (use {', '.join(PRECISIONS)})")
    name, on_cpu = checkpoint.path.name, device.type == "cpu"
    need = check_memory(name, family_config, placement.precision, config.cache_tokens, available, on_cpu=on_cpu)
    reader = (make_reader or WeightReader)(checkpoint, placement, progress)
    try:
        network = Decoder(
            family_config,
            reader.read,
            reader.read_linear,
            num_positions=min(config.cache_tokens, family_config.shape.max_position),
            dtype=placement.dtype,
            device=placement.device,
        )
    except torch.cuda.OutOfMemoryError:
        raise OutOfMemory(f"{name} in {placement.precision} needs {need.total / 1e9:.1f} GB on {device}") from None
    return network, placement, reader


def _with_own_head(checkpoint: Checkpoint, config: FamilyConfig) -> FamilyConfig:
    """Untied where the file holds a head that differs from the embedding, whatever the configuration says.

    Some published configurations keep the flag of the base they came from; a stored head that was trained wins.
    """
    names = weight_names(config)
    head, embedding = f"{names.head}.weight", f"{names.embedding}.weight"
    if not config.shape.tie_word_embeddings or not checkpoint.has(head):
        return config
    num_rows = config.shape.vocab_size
    for start in range(0, num_rows, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, num_rows)
        if not torch.equal(checkpoint.read_rows(head, start, stop), checkpoint.read_rows(embedding, start, stop)):
            return replace(config, shape=replace(config.shape, tie_word_embeddings=False))
    return config


class WeightReader:
    """Reads weights of one checkpoint as layers of one placement."""

    def __init__(self, checkpoint: Checkpoint, placement: Placement, progress: LoadProgress | None = None) -> None:
        assert checkpoint.family is not None
        self._checkpoint = checkpoint
        self._placement = placement
        self._progress = progress
        self._num_read = 0
        self._num_tensors = max(1, len(checkpoint.names()))
        self._shapes = family_shapes(checkpoint.family)
        self._quantization = checkpoint.family.quantization

    def read(self, name: str) -> Tensor:
        """One tensor as it is stored; a copy, or the view would keep the whole file counted as our memory."""
        self._count()
        return self._checkpoint.read(name).clone()

    def read_linear(self, names: tuple[str, ...], has_bias: bool) -> Linear:
        """Matrices of these names, multiplied as one."""
        device, dtype, precision = self._placement.device, self._placement.dtype, self._placement.precision
        bias = torch.cat([self.read(f"{name}.bias") for name in names]).to(device) if has_bias else None
        weights = [f"{name}.weight" for name in names]
        bits = _BITS_OF.get(precision)
        if precision == "int8" and device.type == "cpu":
            return self._int8_on_cpu(weights, bias)
        if bits is not None and all(
            self._is_packed(name) or can_pack(self._checkpoint.shape(name), bits) for name in weights
        ):
            packed = [self._packed(name, bits) for name in weights]
            if len({type(each) for each in packed}) == 1:
                return PackedLinear(joined(packed), bias, dtype)
        matrix = torch.empty(self._shape(weights), dtype=dtype, device=device)
        for rows, part in self._placed(weights):
            matrix[rows] = part.to(device, dtype)
        return FloatLinear(matrix, None if bias is None else bias.to(dtype))

    def _int8_on_cpu(self, weights: list[str], bias: Tensor | None) -> Int8Linear:
        """Rows are quantised as they come: a head of half a billion weights is never there in 16 or 32 bits."""
        shape = self._shape(weights)
        values, scales = torch.empty(shape, dtype=torch.int8), torch.empty(shape[0])
        for rows, part in self._placed(weights):
            values[rows], scales[rows] = quantize_rows(part)
        return Int8Linear(values, bias, quantized=(values, scales))

    def _shape(self, weights: list[str]) -> tuple[int, int]:
        """Of the matrices one above the other."""
        shapes = [self._shapes[name] if self._is_packed(name) else self._checkpoint.shape(name) for name in weights]
        return sum(rows for rows, _ in shapes), shapes[0][1]

    def _placed(self, weights: list[str]) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the matrices one above the other, each with the rows it is."""
        start = 0
        for name in weights:
            for part in self._slices(name):
                yield slice(start, start + len(part)), part
                start += len(part)

    def _packed(self, name: str, bits: Bits) -> Int4Weight | Int8Weight:
        device, dtype = self._placement.device, self._placement.dtype
        if self._is_packed(name):
            stored_weight = self._stored(name)
            if (4 if isinstance(stored_weight, Int4Weight) else 8) == bits:
                return stored_weight
        return quantized(self._slices(name), bits, dtype, device)

    def _slices(self, name: str) -> Iterator[Tensor]:
        """Rows of a matrix, ROWS_AT_ONCE at a time."""
        if self._is_packed(name):
            for part in row_slices(self._stored(name)):
                yield expanded(part)
            return
        self._count()
        num_rows = self._checkpoint.shape(name)[0]
        for start in range(0, num_rows, ROWS_AT_ONCE):
            yield self._checkpoint.read_rows(name, start, min(start + ROWS_AT_ONCE, num_rows))

    def _stored(self, name: str) -> Int4Weight | Int8Weight:
        assert self._quantization is not None
        bits: Bits = 8 if self._quantization.bits == 8 else 4
        values, scales = self.read(name + VALUES), self.read(name + SCALES)
        device = self._placement.device
        return from_stored(values.to(device), scales.to(device), bits, self._placement.dtype)

    def _is_packed(self, name: str) -> bool:
        return self._quantization is not None and self._checkpoint.has(name + VALUES)

    def _count(self) -> None:
        self._num_read += 1
        if self._progress is not None and self._num_read % 12 == 0:
            self._progress("Loading weights", min(1.0, self._num_read / self._num_tensors))


ReaderClass = type[WeightReader]
