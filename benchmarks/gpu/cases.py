"""What the kernel benchmark runs: every operation at the shapes of a model, with its inputs and its least bytes.

Each case holds several sets of inputs, so that repeated runs read weights from memory and not from the chip's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from model_runtime.kernels import Kernels, reference
from model_runtime.kernels.formats import LowRank, pack_token_set, quantize_int4, quantize_int8


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's shape."""

    name: str
    hidden: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int
    vocabulary: int

    @property
    def qkv(self) -> int:
        """Columns of the fused query, key and value projection."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim


SHAPES = {
    "0.5b": Shape("0.5b", 896, 4864, 14, 2, 64, 24, 56320),
    "1.5b": Shape("1.5b", 1536, 8960, 12, 2, 128, 28, 56320),
    "tiny": Shape("tiny", 128, 256, 4, 2, 64, 2, 512),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One operation at one size: `run(kernels, inputs)` for any of `input_sets`."""

    operation: str
    detail: str
    input_sets: list[tuple[Any, ...]]
    num_bytes: int
    """Least traffic: every input and output once."""
    run: Callable[[Kernels, tuple[Any, ...]], Any]
    tolerance: float
    """Largest relative error against the reference."""


def _bytes(*values: Any) -> int:
    total = 0
    for value in values:
        if isinstance(value, torch.Tensor):
            total += value.numel() * value.element_size()
        elif hasattr(value, "__dataclass_fields__"):
            total += _bytes(*(getattr(value, name) for name in value.__dataclass_fields__))
    return total


class CaseBuilder:
    """Builds the cases of one shape, activation type and number of rows on one device."""

    def __init__(
        self, shape: Shape, dtype: torch.dtype, rows: int, context: int, device: torch.device, sets: int
    ) -> None:
        self.shape, self.dtype, self.rows, self.context = shape, dtype, rows, context
        self.device, self.sets = device, sets
        self.tolerance = 1e-2 if dtype == torch.bfloat16 else 2e-3
        self._generator = torch.Generator(device=device).manual_seed(1)

    def random(self, *sizes: int, spread: float = 1.0) -> torch.Tensor:
        """Normal values of the activation type: never time on zeros."""
        wide = torch.randn(*sizes, generator=self._generator, device=self.device) * spread
        return wide.to(self.dtype)

    def all(self) -> list[Case]:
        """Every operation."""
        shape, found = self.shape, [self.rms_norm(), self.swiglu(), self.qkv_rope_write(), self.block_attention()]
        layers = {
            "qkv": (shape.qkv, shape.hidden),
            "out": (shape.hidden, shape.heads * shape.head_dim),
            "gate_up": (2 * shape.width, shape.hidden),
            "down": (shape.hidden, shape.width),
        }
        for kind in ("dense", "int8", "int4"):
            found += [self.linear(kind, name, *sizes, rank=0) for name, sizes in layers.items()]
        found.append(self.linear("dense", "gate_up", 2 * shape.width, shape.hidden, rank=16))
        return [*found, self.head("dense"), self.head("int8"), self.canvas()]

    def of_step(self) -> list[Case]:
        """The operations of a dense step, once each."""
        wanted = ("rms_norm", "swiglu", "qkv_rope_write", "block_attention", "linear_dense", "head_argmax")
        return [
            case
            for case in self.all()
            if case.operation in wanted and "adapter" not in case.detail and case.detail != "int8"
        ]

    def rms_norm(self) -> Case:
        size = (self.rows, self.shape.hidden)
        sets = [(self.random(*size), self.random(size[1]), 1e-6, self.random(*size)) for _ in range(self.sets)]
        num_bytes = _bytes(*sets[0]) + 2 * _bytes(sets[0][0])
        return self._case("rms_norm", "with residual", sets, num_bytes, lambda kernels, given: kernels.rms_norm(*given))

    def swiglu(self) -> Case:
        sets = [(self.random(self.rows, 2 * self.shape.width),) for _ in range(self.sets)]
        num_bytes = _bytes(*sets[0]) * 3 // 2
        return self._case("swiglu", "", sets, num_bytes, lambda kernels, given: kernels.swiglu(*given))

    def _caches(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        capacity = self.context + self.rows
        size = (self.shape.kv_heads, capacity, self.shape.head_dim)
        state = torch.tensor([self.context, self.rows // 4, self.rows], dtype=torch.int32, device=self.device)
        return self.random(*size), self.random(*size), state

    def qkv_rope_write(self) -> Case:
        shape, sets = self.shape, []
        table = reference.rope_table(self.context + self.rows, shape.head_dim, 1e6).to(self.device)
        for _ in range(self.sets):
            keys, values, state = self._caches()
            sets.append((self.random(self.rows, shape.qkv), self.random(shape.qkv), table, state, keys, values))
        num_bytes = 2 * _bytes(sets[0][0]) + _bytes(sets[0][1]) + self.rows * shape.head_dim * 4
        return self._case("qkv_rope_write", "", sets, num_bytes, lambda kernels, given: kernels.qkv_rope_write(*given))

    def block_attention(self) -> Case:
        shape, sets = self.shape, []
        for _ in range(self.sets):
            keys, values, state = self._caches()
            sets.append(
                (self.random(self.rows, shape.heads, shape.head_dim), keys, values, state, shape.head_dim**-0.5)
            )
        num_bytes = 2 * _bytes(sets[0][0]) + _bytes(*sets[0][1:3])
        detail = f"{self.context} keys"
        return self._case(
            "block_attention", detail, sets, num_bytes, lambda kernels, given: kernels.block_attention(*given)
        )

    def _weight(self, kind: str, num_out: int, num_in: int) -> reference.Weight:
        weight = self.random(num_out, num_in, spread=num_in**-0.5)
        if kind == "int8":
            return quantize_int8(weight)
        return quantize_int4(weight, self.dtype) if kind == "int4" else weight

    def linear(self, kind: str, name: str, num_out: int, num_in: int, rank: int) -> Case:
        sets = []
        for _ in range(self.sets):
            adapter, gate = None, None
            if rank:
                adapter = LowRank(
                    self.random(rank, num_in, spread=num_in**-0.5), self.random(num_out, rank, spread=0.1)
                )
                gate = (torch.arange(self.rows, device=self.device) >= self.rows // 4).float()
            sets.append((self.random(self.rows, num_in), self._weight(kind, num_out, num_in), None, adapter, gate))
        num_bytes = _bytes(*sets[0]) + self.rows * num_out * 2
        operation = f"linear_{kind}"
        detail = f"{name} {num_in}->{num_out}" + (f", rank {rank} adapter" if rank else "")
        return self._case(
            operation, detail, sets, num_bytes, lambda kernels, given: getattr(kernels, operation)(*given)
        )

    def head(self, kind: str) -> Case:
        mask_id = self.shape.vocabulary - 1
        canvas = torch.full((self.rows,), mask_id, dtype=torch.int32, device=self.device)
        thresholds = torch.tensor([0.9, 0.9], device=self.device)
        forbidden = pack_token_set(torch.tensor([mask_id], device=self.device), self.shape.vocabulary)
        # One set: the head's weights alone are larger than the chip's cache at the shipped sizes.
        weight = self._weight(kind, self.shape.vocabulary, self.shape.hidden)
        sets = [(self.random(self.rows, self.shape.hidden), weight, canvas, thresholds, mask_id, forbidden)]
        num_bytes = _bytes(*sets[0])
        return self._case(
            "head_argmax",
            kind,
            sets,
            num_bytes,
            lambda kernels, given: kernels.head_argmax(*given).probabilities,
        )

    def canvas(self) -> Case:
        ids = torch.arange(4096, dtype=torch.int32, device=self.device)
        insert, deleted = (ids % 9 == 0).int(), (ids % 7 == 0).int()
        length = torch.tensor([4000], dtype=torch.int32, device=self.device)
        sets = [(ids, insert, deleted, length, 7)]
        num_bytes = _bytes(*sets[0]) + 2 * _bytes(ids)
        return self._case("canvas_rebuild", "4000 tokens", sets, num_bytes, lambda k, given: k.canvas_rebuild(*given))

    def _case(self, operation: str, detail: str, sets: list[tuple[Any, ...]], num_bytes: int, run: Any) -> Case:
        return Case(operation, detail, sets, num_bytes, run, self.tolerance)
