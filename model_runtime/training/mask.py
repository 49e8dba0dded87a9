"""Stage 1, mask: a gated low-rank adapter that fills masked canvas rows, over a frozen base.

The clean rows of a sequence run once without gradient and leave keys and values behind; the noisy blocks then run over
those, the adapter acting on masked rows only. Loss: cross-entropy to the true token, plus distillation from the base's
own distribution for the same token, which is what verification will compare a draft with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_runtime.errors import CheckpointMismatch
from model_runtime.training.config import TrainConfig
from model_runtime.training.heal import CHECKPOINT, Report, RunLimits, adapter_parameters, save_run
from model_runtime.training.loop import Trainer, stop_on_signals
from model_runtime.training.masked_blocks import Block, Canvas, draw_blocks, lay_out
from model_runtime.training.network import KeyValues, TrainingNetwork
from model_runtime.training.objective import Sample
from model_runtime.training.samples import SampleStream

DISTILLATION_WEIGHT = 1.0
BLOCKS_PER_SEQUENCE = 8
SEQUENCES_PER_STEP = 3
MIN_TARGET = 6
"""Samples with fewer tokens to learn have no room for a block."""
DRAFT_LENGTH = 7
"""Masked rows of the blocks that measure drafting."""


@dataclass(frozen=True, slots=True)
class DraftFigures:
    """What a draft is worth: tokens accepted behind the free one, and how often the first masked rows are right."""

    blocks: int
    extra_tokens: float
    first_row_agrees: float


class MaskDenoiser(nn.Module):
    """The base with a gated adapter in every layer and a learned embedding for masked rows."""

    def __init__(self, network: TrainingNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        if config.first_layer != 0:
            raise CheckpointMismatch(f"a mask adapter acts in every layer, not from layer {config.first_layer} on")
        network.attach_adapter(range(network.config.num_layers), config.rank, config.alpha, config.seed)
        # The mean of all embeddings: a token that says nothing yet.
        self.mask_embedding = nn.Parameter(network.embedding.float().mean(0))

    def trainable(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name."""
        return {**adapter_parameters(self.network), "mask_embedding": self.mask_embedding}

    def clean_pass(self, ids: Sequence[int]) -> tuple[list[KeyValues], Tensor]:
        """Run the clean rows, base only: their keys and values, and their final states (n, V). No gradient."""
        caches = [KeyValues() for _ in range(self.network.config.num_layers)]
        tokens = torch.tensor([list(ids)])
        gate = torch.zeros(1, tokens.shape[1], 1, dtype=self.network.head.dtype)
        with torch.no_grad():
            positions = torch.arange(tokens.shape[1])[None]
            states = self.network.run_layers(self.network.embed(tokens), positions, gate=gate, caches=caches)
        return caches, states[0]

    def canvas_logits(self, caches: Sequence[KeyValues], canvas: Canvas) -> Tensor:
        """Logits (N, vocabulary) of the scored rows; the caches are left as they were."""
        own = [KeyValues(cache.keys, cache.values) for cache in caches]
        hidden = canvas.is_masked[..., None]  # (1, R, 1)
        x = torch.where(hidden, self.mask_embedding, self.network.embed(canvas.tokens))
        gate = hidden.to(self.network.head.dtype)
        x = self.network.run_layers(x, canvas.positions, canvas.mask, gate, caches=own)
        return self.network.logits(x[0, canvas.scored_rows])


def mask_loss(denoiser: MaskDenoiser, ids: Sequence[int], blocks: Sequence[Block]) -> Tensor:
    """Mean loss of the scored rows of one sequence: cross-entropy plus distillation, nats."""
    caches, clean_states = denoiser.clean_pass(ids)
    canvas = lay_out(ids, blocks)
    logits = denoiser.canvas_logits(caches, canvas)
    with torch.no_grad():
        teacher = denoiser.network.logits(clean_states[canvas.teacher_rows]).softmax(-1)
    distillation = functional.kl_div(logits.log_softmax(-1), teacher, reduction="batchmean")
    return functional.cross_entropy(logits, canvas.targets) + DISTILLATION_WEIGHT * distillation


def draft_figures(denoiser: MaskDenoiser, samples: Sequence[Sample], per_sample: int, seed: int) -> DraftFigures:
    """Draft greedily behind random anchors and count the tokens the base itself, knowing all before them, agrees with.

    An extra token counts only while every one before it in its block counted: what lossless decoding would keep.
    """
    rng = random.Random(seed)
    extra = first = blocks_seen = 0
    for sample in samples:
        length = len(sample.ids)
        last = length - 2 - DRAFT_LENGTH
        if last < sample.prompt_length - 1:
            continue
        anchors = [rng.randint(sample.prompt_length - 1, last) for _ in range(per_sample)]
        blocks = [Block(anchor, (True,) * DRAFT_LENGTH) for anchor in anchors]
        with torch.no_grad():
            caches, states = denoiser.clean_pass(sample.ids)
            canvas = lay_out(sample.ids, blocks)
            drafted = denoiser.canvas_logits(caches, canvas).argmax(-1)
            wanted = denoiser.network.logits(states[canvas.teacher_rows]).argmax(-1)
        agrees = (drafted == wanted).view(len(blocks), DRAFT_LENGTH)
        extra += int(agrees.long().cumprod(dim=1).sum())
        first += int(agrees[:, 0].sum())
        blocks_seen += len(blocks)
    if not blocks_seen:
        return DraftFigures(0, 0.0, 0.0)
    return DraftFigures(blocks_seen, extra / blocks_seen, first / blocks_seen)


def train_mask(
    denoiser: MaskDenoiser,
    stream: SampleStream,
    held_out: Sequence[Sample],
    config: TrainConfig,
    folder: Path,
    limits: RunLimits,
    report: Report,
) -> Trainer:
    """Train until `config.steps`, a signal or the time limit; resumes from the folder's checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(denoiser.trainable(), config)
    if (folder / CHECKPOINT).is_file():
        trainer.load(folder / CHECKPOINT)
        report(f"resumed at step {trainer.progress.step} of {config.steps}")
    progress = trainer.progress
    started = saved = time.monotonic()
    with stop_on_signals() as signals:
        while progress.step < config.steps and not signals["stop"]:
            begun = time.monotonic()
            if limits.max_minutes is not None and begun - started > 60 * limits.max_minutes:
                break
            _mask_step(denoiser, trainer, stream)
            progress.seconds += time.monotonic() - begun
            report(f"step {progress.step}/{config.steps}  loss {progress.losses[-1]:.3f}  {progress.targets} targets")
            if time.monotonic() - saved > limits.checkpoint_every_s:
                save_run(trainer, folder)
                saved = time.monotonic()
    figures = draft_figures(denoiser, held_out, per_sample=4, seed=config.seed)
    report(f"{figures.extra_tokens:.3f} extra tokens a forward over {figures.blocks} held-out blocks")
    save_run(trainer, folder)
    return trainer


def _mask_step(denoiser: MaskDenoiser, trainer: Trainer, stream: SampleStream) -> None:
    """One update over a few sequences, drawn as a function of the step alone."""
    step = trainer.progress.step
    rng = random.Random(f"mask:{trainer.config.seed}:{step}")
    losses: list[Tensor] = []
    while len(losses) < SEQUENCES_PER_STEP:
        sample = stream.draw(rng)
        if len(sample.ids) - sample.prompt_length < MIN_TARGET:
            continue
        # Half of the canvases lie in what is to be written, half anywhere: code is code, and the context is paid for.
        first_anchor = sample.prompt_length - 1 if rng.random() < 0.5 else min(8, sample.prompt_length - 1)
        blocks = draw_blocks(len(sample.ids), first_anchor, BLOCKS_PER_SEQUENCE, rng)
        losses.append(mask_loss(denoiser, sample.ids, blocks))
        trainer.progress.tokens += len(sample.ids)
        trainer.progress.targets += sum(sum(block.is_masked) for block in blocks)
    trainer.progress.samples += len(losses)
    trainer.step(torch.stack(losses).mean())
