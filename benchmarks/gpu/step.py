"""One denoising step of a whole network: its replay, its floor, and what each operation takes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.gpu.cases import CaseBuilder, Shape
from benchmarks.gpu.timing import time_captured, time_wall
from model_runtime.checkpoint import expected_shapes
from model_runtime.config import ModelConfig
from model_runtime.cuda_path.graphs import CudaCapture
from model_runtime.cuda_path.memory import HostRows, RowMemory
from model_runtime.cuda_path.network import FusedNetwork, StaticCache
from model_runtime.kernels import Kernels
from model_runtime.models.fused_qwen2 import FusedQwen2, WeightFormat


def random_network(
    shape: Shape, weights: WeightFormat, kernels: Kernels, dtype: torch.dtype, device: torch.device, positions: int
) -> FusedNetwork:
    """A network of a model's shape on random weights: for time and for checks, not for text."""
    config = ModelConfig(
        architecture="qwen2",
        hidden_size=shape.hidden,
        intermediate_size=shape.width,
        num_layers=shape.layers,
        num_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocabulary,
        max_position=positions,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        mask_token_id=shape.vocabulary - 1,
    )
    shapes, generator = expected_shapes(config), torch.Generator(device=device).manual_seed(2)

    def read(name: str) -> torch.Tensor:
        if "norm" in name:
            return torch.ones(shapes[name], dtype=dtype, device=device)
        noise = torch.randn(shapes[name], generator=generator, device=device)
        return (noise * shapes[name][-1] ** -0.5).to(dtype)

    model = FusedQwen2(config, read, kernels, weights=weights, num_positions=positions, dtype=dtype, device=device)
    return FusedNetwork(model, CudaCapture(device) if device.type == "cuda" else None)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One line of the step table; times in microseconds, None in a rehearsal."""

    weights: str
    rows: int
    context: int
    megabytes: float
    is_finite: bool
    floor_us: float | None = None
    replay_us: float | None = None
    """The captured step alone, rows copied in."""
    decide_us: float | None = None
    """As decoding calls it: rows laid out, result on the host."""
    ahead_us: float | None = None
    """The same where every step is foreseen: what one token at a time costs."""

    @property
    def ratio(self) -> float | None:
        """Replay over the floor."""
        return self.replay_us / self.floor_us if self.replay_us and self.floor_us else None


def filled_cache(network: FusedNetwork, context: int, capacity: int) -> StaticCache:
    """A cache of random keys and values, `context` tokens committed."""
    cache = network.new_cache(capacity)
    generator = torch.Generator(device=network.device).manual_seed(3)
    for layer in range(network.config.num_layers):
        for part in cache.memory(layer):
            part.copy_(torch.randn(part.shape, generator=generator, device=network.device).to(part.dtype))
    cache.commit([1] * context)
    return cache


def measure_step(network: FusedNetwork, weights: str, rows: int, context: int, bandwidth: float | None) -> StepRow:
    """A step of an anchor and rows - 1 guesses behind `context` tokens."""
    cache = filled_cache(network, context, context + 4 * rows + 256)
    none = torch.tensor([network.config.vocab_size - 1], device=network.device)
    record = network.decide(2, [3] * (rows - 1), 0, cache, none, 2.0)
    is_finite = all(0.0 < prob <= 1.0 for prob in record.probs)
    element = cache.memory(0)[0].element_size()
    width = 2 * network.config.num_layers * network.config.num_kv_heads * network.config.head_dim * element
    num_bytes = network.model.step_bytes + width * (context + rows)
    row = StepRow(weights, rows, context, num_bytes / 1e6, is_finite)
    if bandwidth is None:
        return row
    memory = RowMemory(rows, network.device)
    memory.load(HostRows([2] + [3] * (rows - 1), rows, context))

    def step() -> None:
        memory.reload()
        network.denoise_once(memory, cache, False)

    replay = time_captured([step]).median
    decide = time_wall(lambda: network.decide(2, [3] * (rows - 1), 0, cache, none, 2.0))
    times = {"floor_us": num_bytes / bandwidth * 1e6, "replay_us": replay, "decide_us": decide}
    if rows == 1:
        times["ahead_us"] = time_wall(_one_at_a_time(network, cache, none), repeats=200)
    return StepRow(**{**asdict(row), **times})


def _one_at_a_time(network: FusedNetwork, cache: StaticCache, none: torch.Tensor) -> Any:
    anchor = 2

    def step() -> None:
        nonlocal anchor
        record = network.decide(anchor, [], 0, cache, none, 2.0)
        cache.commit([anchor])
        anchor = record.token_ids[0]

    return step


def measure_breakdown(
    shape: Shape, kernels: Kernels, dtype: torch.dtype, rows: int, context: int, device: torch.device
) -> list[dict[str, Any]]:
    """Calls of each operation in a step and microseconds of them all, timed alone over weights that are not cached."""
    builder = CaseBuilder(shape, dtype, rows, context, device, sets=8)
    found = []
    for case in builder.of_step():
        calls = (
            1 if case.operation == "head_argmax" else 2 * shape.layers if case.operation == "rms_norm" else shape.layers
        )
        entry: dict[str, Any] = {"operation": case.operation, "detail": case.detail, "rows": rows, "calls": calls}
        if device.type == "cuda":
            runs = [lambda given=given, case=case: case.run(kernels, given) for given in case.input_sets]
            entry["us"] = time_captured(runs).median * calls  # type: ignore[arg-type]
        found.append(entry)
    return found
