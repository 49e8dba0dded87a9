"""The optimisation loop's machinery: learning-rate schedule, checkpoints that resume exactly, stopping cleanly.

Knows parameters and steps, not what they mean. A checkpoint is one safetensors file (parameters and both AdamW
moments) whose metadata holds the step and the loss history; it is replaced atomically.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch
from model_runtime.training.config import TrainConfig
from model_runtime.training.sharded import average_gradients, clip_gradients, groups, is_first, like, whole


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rate of 0-based `step`: linear warm-up, then cosine to `final_share` of the peak at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.final_share + (1 - config.final_share) * cosine)


@dataclass(slots=True)
class Progress:
    """How far a run is."""

    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    tokens: int = 0
    targets: int = 0
    samples: int = 0
    losses: list[float] = field(default_factory=list)
    """What was minimised, one value a step."""
    drifts: list[float] = field(default_factory=list)
    """Of it, the divergence from the base on ordinary text, nats a token, where a stage has one."""
    held_out: list[list[float]] = field(default_factory=list)
    """[step, loss] pairs."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


class Trainer:
    """AdamW over named float32 parameters, with exact save and load."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> None:
        self.parameters = dict(parameters)
        self.config = config
        self.progress = Progress()
        self._optimiser = torch.optim.AdamW(
            [{"params": part} for part in groups(self.parameters.values())],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )

    def step(self, loss: Tensor) -> float:
        """One update from a scalar loss; returns the gradient's norm before clipping."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self.progress.step, self.config)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        average_gradients(self.parameters.values())
        norm = clip_gradients(self.parameters.values(), self.config.gradient_clip)
        self._optimiser.step()
        self.progress.step += 1
        self.progress.losses.append(round(float(loss.detach()), 5))
        return norm

    def save(self, path: Path) -> None:
        """Write everything a resumed run needs, atomically."""
        from safetensors.torch import save_file

        tensors = {f"parameter.{name}": whole(p.detach()) for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for moment, value in self._optimiser.state.get(parameter, {}).items():
                tensors[f"{moment}.{name}"] = whole(value)
        if not is_first():
            return
        document = {"config": self.config.to_dict(), "progress": self.progress.to_dict()}
        partial = path.with_name(path.name + ".part")
        save_file(tensors, partial, metadata={"run": json.dumps(document)})
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; CheckpointMismatch when it is of a run with another configuration.

        Only `steps` may differ: a run may be shortened or prolonged, its rate then follows the new schedule.
        """
        from safetensors import safe_open

        with safe_open(path, framework="pt", device="cpu") as file:
            document = json.loads((file.metadata() or {}).get("run", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if not isinstance(document, dict):
            raise CheckpointCorrupt(f"{path} is not a training checkpoint")
        theirs, ours = _identity(document["config"]), _identity(json.loads(json.dumps(self.config.to_dict())))
        if theirs != ours:
            names = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
            raise CheckpointMismatch(f"{path} belongs to a run with another configuration: {', '.join(names)}")
        self.progress = Progress(**document["progress"])
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(like(tensors.pop(f"parameter.{name}"), parameter))
        for key, value in tensors.items():
            moment, _, name = key.partition(".")
            parameter = self.parameters[name]
            # AdamW counts its steps on the CPU wherever the parameter is.
            self._optimiser.state[parameter][moment] = value if moment == "step" else like(value, parameter)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    # A setting that did not exist yet when a checkpoint was written had its default.
    known = json.loads(json.dumps(TrainConfig().to_dict()))
    return {name: value for name, value in {**known, **config}.items() if name != "steps"}


@contextmanager
def stop_on_signals() -> Iterator[dict[str, bool]]:
    """Yield {"stop": False}; SIGINT and SIGTERM set it, so that the run ends after its step with a checkpoint."""
    state = {"stop": False}

    def request(signum: int, frame: FrameType | None) -> None:
        state["stop"] = True

    previous = {sig: signal.signal(sig, request) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield state
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler)
