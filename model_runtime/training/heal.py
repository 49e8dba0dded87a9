"""Stage 0, healing: a plain low-rank adapter that teaches the base to end its infills and to follow edit requests.

Owns one run from base and shards to a trained checkpoint. The base is frozen; the layers below `first_layer` run
without gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.adapters import Adapter
from model_runtime.checkpoint import open_checkpoint
from model_runtime.errors import CheckpointMismatch
from model_runtime.training.config import TrainConfig
from model_runtime.training.loop import Trainer
from model_runtime.training.network import TrainingNetwork, adapter_parameters
from model_runtime.training.objective import Pack, Sample, pack, token_losses
from model_runtime.training.retention import drift
from model_runtime.training.runs import Report, RunLimits, resume, run_steps
from model_runtime.training.samples import SampleStream


def load_network(base: Path, precision: str) -> TrainingNetwork:
    """The base (a checkpoint folder, safetensors or GGUF), frozen, in a torch type named by `precision`."""
    with open_checkpoint(base) as checkpoint:
        return TrainingNetwork(checkpoint, getattr(torch, precision))


def prepare_network(base: Path, config: TrainConfig, device: str = "cpu") -> TrainingNetwork:
    """The base with a fresh trainable adapter in its upper layers."""
    network = load_network(base, config.precision)
    network.attach_adapter(range(config.first_layer, network.config.num_layers), config.rank, config.alpha, config.seed)
    return network.to(device)


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
            losses = iter(batch_losses(network, pack(group).to(network.device), config.first_layer).tolist())
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
            batch = pack(group).to(network.device)
            states = frozen_states(network, batch, config.first_layer)
            divergence, agrees = drift(network, batch, config.first_layer, states)
            divergences.append(divergence.cpu())
            same.append(agrees.float().cpu())
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
    trainer = Trainer(adapter_parameters(network), config)
    resume(trainer, folder, report)
    kept_states: dict[int, Tensor] = {}
    run_steps(
        trainer,
        lambda: _train_step(network, trainer, stream, kept_states),
        lambda: held_out_loss(network, held_out, config)["all"],
        folder,
        limits,
        report,
    )
    return trainer


def _train_step(
    network: TrainingNetwork, trainer: Trainer, stream: SampleStream, kept_states: dict[int, Tensor]
) -> None:
    config, progress = trainer.config, trainer.progress
    number = progress.step % config.epoch_steps if config.epoch_steps else progress.step
    samples = stream.batch(number, config.batch_tokens)
    batch = pack(samples).to(network.device)
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


def plain_drift(network: TrainingNetwork, stream: SampleStream, number: int, config: TrainConfig) -> Tensor:
    """Mean divergence from the base over the ordinary text of one batch, a scalar, nats."""
    batch = pack(stream.plain(number, config.plain_tokens)).to(network.device)
    divergence, _ = drift(network, batch, config.first_layer, frozen_states(network, batch, config.first_layer))
    return divergence.mean()
