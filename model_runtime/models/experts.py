"""The feed-forward network of a layer: one gated network, or a mixture of them routed in groups.

The mixture is Ling 2.0's, which LLaDA2.x uses (published `modeling_llada2_moe.py`): sigmoid scores, a bias that counts
for the choice and not for the weight, the best groups by their two best experts, normalised weights times a factor,
and experts that every row passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from model_runtime.families.config import Experts
from model_runtime.layers.linear import Linear


class FeedForward(Protocol):
    """Rows (T, V) to rows (T, V)."""

    def __call__(self, x: Tensor) -> Tensor: ...

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights."""


@dataclass(frozen=True, slots=True)
class GatedFeedForward:
    """down(silu(gate(x)) * up(x)), gate and up in one product."""

    gate_up: Linear
    down: Linear

    def __call__(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(torch.nn.functional.silu(gate) * up)

    @property
    def num_bytes(self) -> int:
        return self.gate_up.num_bytes + self.down.num_bytes


@dataclass(frozen=True, slots=True)
class Mixture:
    """Chosen experts, weighted, plus the shared ones."""

    config: Experts
    router: Tensor
    """float32 (experts, V): routing is decided in full precision whatever the experts are stored in."""
    router_bias: Tensor
    """float32 (experts,)."""
    experts: tuple[GatedFeedForward, ...]
    shared: GatedFeedForward | None

    def __call__(self, x: Tensor) -> Tensor:
        chosen, weights = route(x.float() @ self.router.T, self.router_bias, self.config)
        total = torch.zeros_like(x, dtype=torch.float32)
        for index in sorted(set(chosen.flatten().tolist())):
            rows, slots = (chosen == index).nonzero(as_tuple=True)
            total.index_add_(0, rows, self.experts[index](x[rows]).float() * weights[rows, slots, None])
        return total if self.shared is None else total + self.shared(x)

    @property
    def num_bytes(self) -> int:
        shared = 0 if self.shared is None else self.shared.num_bytes
        routers = self.router.numel() * 4 + self.router_bias.numel() * 4
        return routers + shared + sum(expert.num_bytes for expert in self.experts)


def route(logits: Tensor, bias: Tensor, config: Experts) -> tuple[Tensor, Tensor]:
    """logits (T, experts) -> chosen experts (T, chosen) and their weights, float32."""
    num_rows = logits.shape[0]
    scores = torch.sigmoid(logits.float())
    grouped = (scores + bias).view(num_rows, config.num_groups, -1)
    # A group is as good as its two best experts together (a group of one: as good as that one).
    best = grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(dim=-1)
    groups = best.topk(config.num_chosen_groups, dim=-1).indices
    is_open = torch.zeros_like(best, dtype=torch.bool).scatter_(1, groups, True)
    biased = grouped.masked_fill(~is_open[..., None], float("-inf")).view(num_rows, -1)
    chosen = biased.topk(config.num_chosen, dim=-1).indices
    weights = scores.gather(1, chosen)
    if config.num_chosen > 1:
        weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
    return chosen, weights * config.scaling


def read_mixture(
    config: Experts,
    read: Callable[[str], Tensor],
    make_feed_forward: Callable[[str], GatedFeedForward],
    router: str,
    router_bias: str,
    expert: str,
    shared: str,
) -> Mixture:
    """`make_feed_forward` takes the prefix of a gated network's names; the others are full names, `expert` with {}."""
    return Mixture(
        config=config,
        router=read(router).float(),
        router_bias=read(router_bias).float(),
        experts=tuple(make_feed_forward(expert.format(e)) for e in range(config.num_experts)),
        shared=make_feed_forward(shared) if config.num_shared else None,
    )
