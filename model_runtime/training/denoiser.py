"""The denoiser while it trains: the frozen base, a gated adapter that acts on canvas rows, and what they share.

Clean rows run the base alone, once and without gradient, and leave keys and values behind; canvas rows run over those
through the adapter. Layers below `first_layer` carry no adapter: what canvas rows are there does not change while
training and may be kept (kept_rows.py). Knows rows, not which corruption they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_runtime.diffusion.noise import Marks
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.masked_blocks import Canvas
from model_runtime.training.network import KeyValues, TrainingNetwork, adapter_parameters

MASK_EMBEDDING_NAME = "mask_embedding"
EDIT_HEAD_NAME = "edit_head"
TEACHER_TOKENS = 32
"""Of the base's distribution: the likeliest so many are distilled; on code they hold nearly all of it."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """The base's own distribution where canvas rows are asked, cut to its likeliest tokens. N rows, K tokens."""

    ids: Tensor  # (N, K)
    probs: Tensor  # (N, K), summing to one
    has_row: Tensor  # (N,) False where no clean row predicts the same

    def to(self, device: torch.device) -> Teacher:
        """The same on a device."""
        return Teacher(self.ids.to(device), self.probs.to(device), self.has_row.to(device))


@dataclass(frozen=True, slots=True)
class CleanPass:
    """What the clean rows leave behind: keys and values a layer, and the final states (B, n, V)."""

    caches: Sequence[KeyValues]
    states: Tensor


class Denoiser(nn.Module):
    """The base with a gated adapter in its upper layers and a learned embedding for masked slots."""

    def __init__(
        self, network: TrainingNetwork, config: DenoiserConfig, marks: Marks, mask_like: int | None = None
    ) -> None:
        """`mask_like`: the token whose embedding a masked slot begins with; None: the mean of all embeddings."""
        super().__init__()
        self.network = network
        self.marks = marks
        self.first_layer = config.first_layer
        layers = range(config.first_layer, network.config.num_layers)
        network.attach_adapter(layers, config.rank, config.alpha, config.seed)
        # It only learns where the adapter starts at the bottom; below an adapted layer nothing may change.
        embedding = network.embedding.float()
        self.mask_embedding = nn.Parameter(embedding.mean(0) if mask_like is None else embedding[mask_like].clone())
        self.edit_head: nn.Parameter | None = None
        """(2, V): rows of the head for `delete` and `insert`, whose own rows are one and the same untrained mean."""
        self.to(network.device)

    def attach_edit_head(self) -> None:
        """Make `delete` and `insert` answerable: two trainable rows of the head, at first as unlikely as the mean."""
        self.edit_head = nn.Parameter(self.network.head.float().mean(0).repeat(2, 1))

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name."""
        parameters = {**adapter_parameters(self.network), MASK_EMBEDDING_NAME: self.mask_embedding}
        if self.edit_head is not None:
            parameters[EDIT_HEAD_NAME] = self.edit_head
        return parameters

    @torch.no_grad()
    def clean_pass(self, ids: Tensor) -> CleanPass:
        """ids (B, n) through the base alone, causal."""
        caches = [KeyValues() for _ in range(self.network.config.num_layers)]
        positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
        gate = torch.zeros(*ids.shape, 1, dtype=self.network.head.dtype, device=ids.device)
        states = self.network.run_layers(self.network.embed(ids), positions, gate=gate, caches=caches)
        return CleanPass(caches, states)

    def lower_states(self, caches: Sequence[KeyValues], canvas: Canvas) -> Tensor:
        """Canvas rows (B, R, V) as they enter the first adapted layer."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.first_layer == 0):
            is_mask = (canvas.tokens == self.marks.mask)[..., None]  # (B, R, 1)
            x = torch.where(is_mask, self.mask_embedding, self.network.embed(canvas.tokens))
            return self._run(x, caches, canvas, range(self.first_layer))

    def answers(self, states: Tensor, caches: Sequence[KeyValues], canvas: Canvas) -> Tensor:
        """Logits (N, vocabulary) of the asked rows, from `lower_states`; the caches are left as they were.

        The mask is never an answer; `delete` and `insert` are answers once there is an edit head.
        """
        x = self._run(states, caches, canvas, range(self.first_layer, self.network.config.num_layers))
        return self.read_head(x.flatten(0, 1)[canvas.asked_rows])

    def read_head(self, hidden: Tensor) -> Tensor:
        """Final canvas rows (N, V) -> logits (N, vocabulary) over answers."""
        logits = self.network.logits(hidden)
        marks = torch.tensor([self.marks.delete, self.marks.insert], device=logits.device)
        if self.edit_head is None:
            edits = logits.new_full((logits.shape[0], 2), -torch.inf)
        else:
            edits = functional.linear(self.network.normed(hidden), self.edit_head)
        logits = logits.index_copy(1, marks, edits)
        return logits.index_fill(1, torch.tensor([self.marks.mask], device=logits.device), -torch.inf)

    @torch.no_grad()
    def teacher(self, clean_states: Tensor, canvas: Canvas) -> Teacher:
        """The base's distributions for the tokens that the asked rows of the canvas should answer."""
        rows = clean_states.flatten(0, 1)[canvas.clean_rows.clamp(min=0)]
        k = min(TEACHER_TOKENS, self.network.config.vocab_size)
        marks = torch.tensor([self.marks.mask, self.marks.delete, self.marks.insert], device=rows.device)
        top = self.network.logits(rows).index_fill(1, marks, -torch.inf).softmax(-1).topk(k, dim=-1)
        return Teacher(top.indices, top.values / top.values.sum(-1, keepdim=True), canvas.clean_rows >= 0)

    def forward(self, canvas: Canvas) -> tuple[Tensor, Teacher]:
        """Everything for one loss: logits (N, vocabulary) of the asked rows, and the base's distributions for them."""
        clean = self.clean_pass(canvas.ids)
        logits = self.answers(self.lower_states(clean.caches, canvas), clean.caches, canvas)
        return logits, self.teacher(clean.states, canvas)

    def _run(self, x: Tensor, caches: Sequence[KeyValues], canvas: Canvas, layers: range) -> Tensor:
        own = [KeyValues(cache.keys, cache.values) for cache in caches]
        gate = torch.ones(*canvas.tokens.shape, 1, dtype=self.network.head.dtype, device=x.device)
        return self.network.run_layers(x, canvas.positions, canvas.mask, gate, layers, own)


def answer_losses(logits: Tensor, answers: Tensor, teacher: Teacher, distillation: float) -> Tensor:
    """Loss of each asked row (N,), nats: cross-entropy, plus divergence from the base where the base has a say."""
    log_probs = logits.log_softmax(-1)
    right = -log_probs.gather(1, answers[:, None])[:, 0]
    entropy = torch.special.entr(teacher.probs).sum(-1)
    # A mark that is no answer has probability 0 on both sides: 0 times minus infinity must not be asked for.
    divergence = -(teacher.probs * log_probs.gather(1, teacher.ids).clamp(min=-1e4)).sum(-1) - entropy
    return right + distillation * torch.where(teacher.has_row, divergence, torch.zeros_like(divergence))
