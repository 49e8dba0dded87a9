"""How much memory a model of a family takes, and whether that is there: said before anything is read.

Counts weights as they will lie on the device, the cache, and a working share. Bytes throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_runtime.errors import OutOfMemory
from model_runtime.families.config import FamilyConfig
from model_runtime.families.names import family_shapes, linear_names

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16", "int8", "int4")

_BITS = {"float32": 32.0, "bfloat16": 16.0, "float16": 16.0, "int8": 8.0, "int4": 4.0 + 16 / 32}
_CACHE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 2, "int4": 2}
_WORKING_BYTES = 256 << 20
"""Activations, logits of one canvas, the slice that is being expanded."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a model takes in one precision."""

    precision: str
    weights: int
    cache: int

    @property
    def total(self) -> int:
        """With the working share."""
        return self.weights + self.cache + _WORKING_BYTES


def memory_need(config: FamilyConfig, precision: str, cache_tokens: int, *, on_cpu: bool = False) -> MemoryNeed:
    """The need in one of PRECISIONS with a cache of that many tokens, at most the model's own context."""
    shapes = family_shapes(config)
    linears = set(linear_names(config))
    bits = sum(
        math.prod(shape) * (_BITS[precision] if name in linears else 16 if len(shape) == 2 else 32)
        for name, shape in shapes.items()
    )
    if config.shape.tie_word_embeddings:  # the head is a second, multiplied copy of the table
        bits += config.shape.vocab_size * config.shape.hidden_size * _BITS[precision]
    shape = config.shape
    tokens = min(cache_tokens, shape.max_position)
    bytes_each = 4 if on_cpu else _CACHE_BYTES[precision]
    cache = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * tokens * bytes_each
    return MemoryNeed(precision, int(bits / 8), cache)


def forward_bytes(config: FamilyConfig, precision: str) -> int:
    """Weights that a forward of one token reads: every matrix once, of a mixture only the experts it chooses."""
    experts = config.experts
    if experts is not None:
        config = replace(config, experts=replace(experts, num_experts=experts.num_chosen))
    shapes = family_shapes(config)
    weights = sum(math.prod(shapes[name]) for name in linear_names(config))
    if config.shape.tie_word_embeddings:
        weights += config.shape.vocab_size * config.shape.hidden_size
    return int(weights * _BITS[precision] / 8)


def available_bytes(device: torch.device) -> int | None:
    """Free memory of a device, None where the system does not say."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    return None


def check_memory(
    name: str, config: FamilyConfig, precision: str, cache_tokens: int, available: int | None, *, on_cpu: bool = False
) -> MemoryNeed:
    """OutOfMemory with the figure and with what would fit; `available` None checks nothing."""
    need = memory_need(config, precision, cache_tokens, on_cpu=on_cpu)
    if available is None or need.total <= available:
        return need
    smaller = [memory_need(config, each, cache_tokens, on_cpu=on_cpu) for each in PRECISIONS]
    fitting = [each for each in smaller if each.total <= available]
    if fitting:
        advice = " or ".join(f"{each.precision} ({_gigabytes(each.total)})" for each in fitting[-2:])
        advice = f"precision {advice} would fit"
    else:
        least = memory_need(config, "int4", 1024, on_cpu=on_cpu)
        advice = f"the least is {_gigabytes(least.total)} (int4, a cache of 1024 tokens)"
        if least.total <= available:
            advice += ", which would fit"
    raise OutOfMemory(
        f"{name} in {precision} needs {_gigabytes(need.total)} ({_gigabytes(need.weights)} weights, "
        f"{_gigabytes(need.cache)} cache of {cache_tokens} tokens), {_gigabytes(available)} are free: {advice}"
    )


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
