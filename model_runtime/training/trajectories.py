"""Denoising a block from masks to text, step by step, as decoding does it; and what the base thinks of the result.

Used to learn from (order.py, onpolicy.py) and to measure steps against quality. Many blocks of one sequence are
denoised side by side: they do not see each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.diffusion.noise import NOT_ASKED, CanvasBlock
from model_runtime.training.denoiser import CleanPass, Denoiser
from model_runtime.training.masked_blocks import lay_out


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One block on its way: `states[0]` is all masks, every state keeps what the one before it had committed."""

    anchor: int
    states: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """The finished block."""
        return self.states[-1]

    @property
    def num_steps(self) -> int:
        """Forwards it took."""
        return len(self.states) - 1


@dataclass(frozen=True, slots=True)
class Pace:
    """Which masked slots a step commits: those sure enough, or as many as `num_steps` steps leave no choice about."""

    threshold: float = 0.9
    """A slot is committed when its token's probability reaches this; the surest one always is."""
    num_steps: int | None = None
    """With a number, the surest slots in equal parts instead."""

    def chosen(self, confidence: Sequence[float], step: int) -> list[int]:
        """Indices of the masked slots to commit in this step, of those whose confidences are given."""
        order = sorted(range(len(confidence)), key=lambda i: -confidence[i])
        if self.num_steps is not None:
            return order[: math.ceil(len(order) / max(1, self.num_steps - step))]
        sure = [i for i in order if confidence[i] >= self.threshold]
        return sure or order[:1]


@torch.no_grad()
def denoise_blocks(
    denoiser: Denoiser,
    ids: Sequence[int],
    clean: CleanPass,
    places: Sequence[tuple[int, int]],
    paces: Sequence[Pace],
    temperature: float,
    generator: torch.Generator,
) -> list[Trajectory]:
    """Denoise a block of `size` slots behind each `anchor` of `places`; greedy at temperature 0.

    Slot 0 is the base's own greedy token, known after the first forward, as in decoding.
    """
    mask = denoiser.marks.mask
    free = denoiser.network.logits(clean.states[0, [anchor for anchor, _ in places]]).argmax(-1).tolist()
    shown = [[mask] * size for _, size in places]
    histories = [[tuple(slots)] for slots in shown]
    step = 0
    while active := [index for index, slots in enumerate(shown) if mask in slots]:
        blocks = [_question(places[index][0], shown[index]) for index in active]
        logits = block_logits(denoiser, ids, clean, blocks)
        for index, own in zip(active, logits, strict=True):
            _commit(shown[index], own, free[index], mask, paces[index], step, temperature, generator)
            histories[index].append(tuple(shown[index]))
        step += 1
    return [Trajectory(anchor, tuple(history)) for (anchor, _), history in zip(places, histories, strict=True)]


def block_logits(
    denoiser: Denoiser, ids: Sequence[int], clean: CleanPass, blocks: Sequence[CanvasBlock]
) -> list[Tensor]:
    """Logits (size, vocabulary) of every row of each block; rows that are asked only."""
    canvas = lay_out([ids], [blocks]).to(denoiser.network.device)
    logits = denoiser.answers(denoiser.lower_states(clean.caches, canvas), clean.caches, canvas)
    counts = [sum(answer != NOT_ASKED for answer in block.answers) for block in blocks]
    return list(torch.split(logits, counts))


@torch.no_grad()
def base_log_probs(
    denoiser: Denoiser, ids: Sequence[int], clean: CleanPass, trajectories: Sequence[Trajectory]
) -> list[tuple[Tensor, Tensor]]:
    """What the base, reading causally, makes of slots 1.. of each finished block: log probabilities and greedy hits.

    Both (size - 1,); slot 0 is its own token. Rows run without the adapter over the context's keys and values.
    """
    network = denoiser.network
    blocks = [_question(trajectory.anchor, trajectory.tokens) for trajectory in trajectories]
    canvas = lay_out([ids], [blocks]).to(network.device)
    num_clean = canvas.ids.shape[1]
    causal = canvas.positions[:, None, :, None] >= canvas.positions[:, None, None, :]  # (1, 1, R, R)
    mask = torch.cat([canvas.mask[..., :num_clean], canvas.mask[..., num_clean:] & causal], dim=-1)
    gate = torch.zeros(*canvas.tokens.shape, 1, dtype=network.head.dtype, device=network.device)
    caches = [type(cache)(cache.keys, cache.values) for cache in clean.caches]
    states = network.run_layers(network.embed(canvas.tokens), canvas.positions, mask, gate, caches=caches)
    log_probs = network.logits(states[0]).log_softmax(-1)
    results, row = [], 0
    for trajectory in trajectories:
        size = len(trajectory.tokens)
        own = log_probs[row : row + size - 1]
        behind = torch.tensor(trajectory.tokens[1:], device=own.device)
        results.append((own.gather(1, behind[:, None])[:, 0], own.argmax(-1) == behind))
        row += size
    return results


def _question(anchor: int, shown: Sequence[int]) -> CanvasBlock:
    """A block whose rows are all asked; what is right is not known."""
    return CanvasBlock(anchor, tuple(shown), (0,) * len(shown), (-1,) * len(shown))


def _commit(
    slots: list[int],
    logits: Tensor,
    free: int,
    mask: int,
    pace: Pace,
    step: int,
    temperature: float,
    generator: torch.Generator,
) -> None:
    """One step: put the surest tokens on masked slots, in place."""
    hidden = [slot for slot, token in enumerate(slots) if token == mask and slot > 0]
    if slots[0] == mask:
        slots[0] = free
    if not hidden:
        return
    rows = logits[[slot - 1 for slot in hidden]].float().cpu()
    probs = rows.softmax(-1)
    if temperature > 0:
        tokens = torch.multinomial((rows / temperature).softmax(-1), 1, generator=generator)[:, 0]
    else:
        tokens = probs.argmax(-1)
    confidence = probs.gather(1, tokens[:, None])[:, 0].tolist()
    for index in pace.chosen(confidence, step):
        slots[hidden[index]] = int(tokens[index])
