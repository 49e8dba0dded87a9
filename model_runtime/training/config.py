"""`TrainConfig`: everything that determines a run, written into its card and its checkpoints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from model_runtime.training.samples import Mixture


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One healing run. Two runs with equal configurations, data and base give equal adapters on one machine."""

    steps: int = 200
    batch_tokens: int = 1000
    epoch_steps: int = 0
    """Batches drawn before they repeat; 0 means never. Repeated batches reuse the frozen lower layers' states."""
    plain_tokens: int = 0
    """Tokens of ordinary text a batch, beside `batch_tokens`, held near the base's distribution (retention.py)."""
    plain_weight: float = 1.0
    """Of the mean divergence there, nats, in the loss."""
    first_layer: int = 8
    """Layers below it stay the base's: their forward needs no gradient."""
    rank: int = 16
    alpha: float = 32.0
    learning_rate: float = 3e-4
    warmup_steps: int = 8
    final_share: float = 0.05
    """Learning rate at the end, as a share of the peak; cosine between."""
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    seed: int = 1
    precision: str = "bfloat16"
    start: str = ""
    """sha256 of the adapter the run begins from; empty: from nothing."""
    mixture: Mixture = field(default_factory=Mixture)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
