"""`DenoiserConfig`: what determines a run of a denoiser stage, beyond what every run has."""

from __future__ import annotations

from dataclasses import dataclass, field

from model_runtime.training.config import TrainConfig
from model_runtime.training.masked_blocks import BlockShape


@dataclass(frozen=True, slots=True)
class DenoiserConfig(TrainConfig):
    """One run of stage mask, edit, order or onpolicy."""

    stage: str = "mask"
    earlier: tuple[str, ...] = ()
    """Stages that the adapter went through before this one."""
    healing: str = ""
    """sha256 of the healing adapter merged into the base; empty: none."""
    first_layer: int = 0
    """Lowest adapted layer. Above 0, what canvas rows are below it is fixed, the mask embedding too."""
    learning_rate: float = 6e-4
    sequences_per_step: int = 3
    blocks_per_sequence: int = 8
    shape: BlockShape = field(default_factory=BlockShape)
    depth_decay: float = 1.0
    """A row's weight falls by this factor with every row before it in its block: a draft counts only while all
    drafts before it held."""
    distillation: float = 1.0
    """Weight of the divergence from the base's distribution, beside the cross-entropy."""
    greedy_sequences: int = 0
    """Sequences that the base itself continued greedily: what lossless verification will compare drafts with."""
    greedy_tokens: int = 48
    greedy_share: float = 0.5
    """Of the sequences drawn, where there are greedy ones."""
    kept_sequences: int = 0
    """Sequences drawn before they repeat, their frozen rows kept on disk; 0: never. Needs `first_layer` above 0."""
    edit_share: float = 0.5
    """Stage edit: of the blocks, corrupted by edits; the others are masked as in stage mask."""
    draft_share: float = 0.3
    """Stage edit: of the edit blocks, filled with the denoiser's own drafts instead."""
    trajectories: int = 4
    """Stages order and onpolicy: denoised from each anchor."""
    temperature: float = 0.7
    """Of the tokens sampled there."""
