"""Stage 0, healing: a plain low-rank adapter that teaches the base to end its infills and to follow edit requests.

Owns one run from base and shards to a trained checkpoint. The base is frozen; the layers below `first_layer` run
without gradient. A run is a folder: checkpoint.safetensors, progress.json, loss.svg, card.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from model_runtime.adapters import Adapter
from model_runtime.checkpoint import open_checkpoint
from model_runtime.errors import CheckpointMismatch
from model_runtime.training.config import TrainConfig
from model_runtime.training.curve import write_curve
from model_runtime.training.loop import Progress, Trainer, learning_rate, stop_on_signals
from model_runtime.training.network import TrainingNetwork
from model_runtime.training.objective import Pack, Sample, pack, token_losses
from model_runtime.training.retention import drift
from model_runtime.training.samples import SampleStream

CHECKPOINT = "checkpoint.safetensors"
HELD_OUT_EVERY = 40

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunLimits:
    """When to write and when to stop early."""

    checkpoint_every_s: float = 180.0
    max_minutes: float | None = None


def load_network(base: Path, precision: str) -> TrainingNetwork:
    """The base (a checkpoint folder, safetensors or GGUF), frozen, in a torch type named by `precision`."""
    with open_checkpoint(base) as checkpoint:
        return TrainingNetwork(checkpoint, getattr(torch, precision))


def prepare_network(base: Path, config: TrainConfig) -> TrainingNetwork:
    """The base with a fresh trainable adapter in its upper layers."""
    network = load_network(base, config.precision)
    network.attach_adapter(range(config.first_layer, network.config.num_layers), config.rank, config.alpha, config.seed)
    return network


def start_from(network: TrainingNetwork, adapter: Adapter) -> None:
    """Set the fresh factors to an exported adapter's; CheckpointMismatch unless rank, scale and linears agree."""
    linears = dict(network.adapted_linears())
    if set(linears) != set(adapter.factors):
        raise CheckpointMismatch("the adapter to start from adapts other layers than this run")
    with torch.no_grad():
        for name, linear in linears.items():
            assert linear.lora_a is not None and linear.lora_b is not None
            factors = adapter.factors[name]
            if linear.lora_a.shape != factors.a.shape or linear.scale != adapter.scale:
                raise CheckpointMismatch(
                    f"the adapter to start from has rank {adapter.rank} and alpha {adapter.alpha}: {name} differs"
                )
            linear.lora_a.copy_(factors.a)
            linear.lora_b.copy_(factors.b)


def adapter_parameters(network: TrainingNetwork) -> dict[str, nn.Parameter]:
    """Trainable parameters by name: NAME.lora_a, NAME.lora_b."""
    parameters = {}
    for name, linear in network.adapted_linears():
        assert linear.lora_a is not None and linear.lora_b is not None
        parameters[f"{name}.lora_a"], parameters[f"{name}.lora_b"] = linear.lora_a, linear.lora_b
    return parameters


def frozen_states(network: TrainingNetwork, batch: Pack, first_layer: int) -> Tensor:
    """Hidden states (1, T, V) entering the first adapted layer: no gradient, so they may be kept over epochs."""
    with torch.no_grad():
        return network.run_layers(network.embed(batch.ids), batch.positions, batch.mask, layers=range(first_layer))


def batch_losses(network: TrainingNetwork, batch: Pack, first_layer: int, states: Tensor | None = None) -> Tensor:
    """Loss of every scored token of the pack, (N,)."""
    if states is None:
        states = frozen_states(network, batch, first_layer)
    upper = range(first_layer, network.config.num_layers)
    hidden = network.run_layers(states, batch.positions, batch.mask, layers=upper)
    return token_losses(network.logits(hidden[0, batch.rows]), batch.targets)


def held_out_loss(network: TrainingNetwork, samples: Sequence[Sample], config: TrainConfig) -> dict[str, float]:
    """Mean loss a token over fixed samples, by kind and over `all`."""
    sums: dict[str, list[float]] = {}
    with torch.no_grad():
        for group in groups_of(samples, config.batch_tokens):
            losses = iter(batch_losses(network, pack(group), config.first_layer).tolist())
            for sample in group:
                own = [next(losses) for _ in range(len(sample.ids) - sample.prompt_length)]
                sums.setdefault(sample.kind, []).extend(own)
                sums.setdefault("all", []).extend(own)
    return {kind: sum(values) / len(values) for kind, values in sorted(sums.items())}


def held_out_drift(network: TrainingNetwork, samples: Sequence[Sample], config: TrainConfig) -> dict[str, float]:
    """How far ordinary text moved from the base: mean divergence (nats a token), share of equal greedy choices."""
    divergences: list[Tensor] = []
    same: list[Tensor] = []
    with torch.no_grad():
        for group in groups_of(samples, config.batch_tokens):
            batch = pack(group)
            states = frozen_states(network, batch, config.first_layer)
            divergence, agrees = drift(network, batch, config.first_layer, states)
            divergences.append(divergence)
            same.append(agrees.float())
    return {
        "tokens": sum(len(part) for part in same),
        "divergence": round(float(torch.cat(divergences).mean()), 4),
        "same_choice": round(float(torch.cat(same).mean()), 4),
    }


def groups_of(samples: Sequence[Sample], max_tokens: int) -> Iterator[list[Sample]]:
    """Consecutive samples that together hold at most `max_tokens`, at least one each."""
    group: list[Sample] = []
    for sample in samples:
        if group and sum(len(s.ids) for s in group) + len(sample.ids) > max_tokens:
            yield group
            group = []
        group.append(sample)
    if group:
        yield group


def heal(
    network: TrainingNetwork,
    stream: SampleStream,
    held_out: Sequence[Sample],
    config: TrainConfig,
    folder: Path,
    limits: RunLimits,
    report: Report,
) -> Trainer:
    """Train until `config.steps`, a signal or the time limit; resumes from the folder's checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(adapter_parameters(network), config)
    checkpoint = folder / CHECKPOINT
    if checkpoint.is_file():
        trainer.load(checkpoint)
        report(f"resumed at step {trainer.progress.step} of {config.steps}")
    progress = trainer.progress
    kept_states: dict[int, Tensor] = {}
    started = saved = time.monotonic()
    with stop_on_signals() as signals:
        while progress.step < config.steps and not signals["stop"]:
            begun = time.monotonic()
            if limits.max_minutes is not None and begun - started > 60 * limits.max_minutes:
                break
            if progress.step % HELD_OUT_EVERY == 0:
                _measure_held_out(network, held_out, trainer, report)
            _train_step(network, trainer, stream, kept_states)
            progress.seconds += time.monotonic() - begun
            report(_step_note(progress, config))
            if time.monotonic() - saved > limits.checkpoint_every_s:
                save_run(trainer, folder)
                saved = time.monotonic()
    if progress.step == config.steps:
        _measure_held_out(network, held_out, trainer, report)
    save_run(trainer, folder)
    return trainer


def _measure_held_out(network: TrainingNetwork, held_out: Sequence[Sample], trainer: Trainer, report: Report) -> None:
    progress = trainer.progress
    if progress.held_out and progress.held_out[-1][0] == progress.step:
        return  # measured before the run was stopped here
    loss = held_out_loss(network, held_out, trainer.config)["all"]
    progress.held_out.append([progress.step, round(loss, 4)])
    report(f"step {progress.step}: held-out loss {loss:.4f}")


def _train_step(
    network: TrainingNetwork, trainer: Trainer, stream: SampleStream, kept_states: dict[int, Tensor]
) -> None:
    config, progress = trainer.config, trainer.progress
    number = progress.step % config.epoch_steps if config.epoch_steps else progress.step
    samples = stream.batch(number, config.batch_tokens)
    batch = pack(samples)
    states = kept_states.get(number)
    if states is None:
        states = frozen_states(network, batch, config.first_layer)
        if config.epoch_steps:
            kept_states[number] = states
    losses = batch_losses(network, batch, config.first_layer, states)
    loss = (losses * batch.weights).sum()
    if config.plain_tokens:
        divergence = plain_drift(network, stream, number, config)
        progress.drifts.append(round(float(divergence.detach()), 5))
        loss = loss + config.plain_weight * divergence
    trainer.step(loss)
    progress.tokens += batch.ids.numel()
    progress.targets += batch.targets.numel()
    progress.samples += len(samples)


def _step_note(progress: Progress, config: TrainConfig) -> str:
    recent, drifts = progress.losses[-10:], progress.drifts[-10:]
    drift_note = f"  drift {sum(drifts) / len(drifts):.4f}" if drifts else ""
    return (
        f"step {progress.step}/{config.steps}  loss {progress.losses[-1]:.3f}"
        f"  last ten {sum(recent) / len(recent):.3f}{drift_note}  rate {learning_rate(progress.step - 1, config):.1e}"
        f"  {progress.tokens / progress.seconds:.0f} tokens/s"
    )


def plain_drift(network: TrainingNetwork, stream: SampleStream, number: int, config: TrainConfig) -> Tensor:
    """Mean divergence from the base over the ordinary text of one batch, a scalar, nats."""
    batch = pack(stream.plain(number, config.plain_tokens))
    divergence, _ = drift(network, batch, config.first_layer, frozen_states(network, batch, config.first_layer))
    return divergence.mean()


def save_run(trainer: Trainer, folder: Path) -> None:
    """Checkpoint, readable progress and loss curve."""
    trainer.save(folder / CHECKPOINT)
    (folder / "progress.json").write_text(json.dumps(trainer.progress.to_dict()) + "\n", encoding="utf-8")
    write_curve(folder / "loss.svg", trainer.progress.losses, trainer.progress.held_out)
