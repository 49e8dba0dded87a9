"""What the tests of the denoiser stages share: a small configuration, a denoiser that does something, one sequence."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from model_runtime.diffusion.noise import Marks
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.data.fim import ContextWidths
from model_runtime.training.denoiser import Denoiser
from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.heal import load_network
from model_runtime.training.masked_blocks import BlockShape
from model_runtime.training.objective import Sample
from model_runtime.training.samples import Mixture
from model_runtime.training.sequences import Sequences

CONFIG = DenoiserConfig(
    steps=3,
    first_layer=0,
    rank=2,
    alpha=4.0,
    precision="float32",
    learning_rate=1e-2,
    warmup_steps=1,
    sequences_per_step=2,
    blocks_per_sequence=4,
    shape=BlockShape(4, 16),
    mixture=Mixture(widths=ContextWidths(max_prefix=30, max_suffix=20)),
)
IDS = (5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)


class Repeating(Sequences):
    """The same sample for ever."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def sequence(self, number: int) -> tuple[Sample, random.Random]:
        return self._sample, random.Random(number)


def make_denoiser(base: Path, config: DenoiserConfig = CONFIG, *, is_fresh: bool = False) -> Denoiser:
    """A denoiser over a checkpoint; unless fresh, its adapter already does something."""
    denoiser = Denoiser(load_network(base, "float32"), config, Marks.of(Tokenizer.load(base)))
    if not is_fresh:
        with torch.no_grad():
            for name, parameter in denoiser.trainable().items():
                if name.endswith("lora_b"):
                    parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    return denoiser
