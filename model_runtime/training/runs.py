"""One run of any stage: steps until done, stopped or out of time, with checkpoints, a curve and progress on the way.

A run is a folder: checkpoint.safetensors, progress.json, loss.svg, card.json. It knows nothing of losses: a stage hands
in what one step does and what is measured on held-out cases.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from model_runtime.training.config import TrainConfig
from model_runtime.training.curve import write_curve
from model_runtime.training.loop import Progress, Trainer, learning_rate, stop_on_signals
from model_runtime.training.sharded import is_first, least

CHECKPOINT = "checkpoint.safetensors"
HELD_OUT_EVERY = 40

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RunLimits:
    """When to write and when to stop early."""

    checkpoint_every_s: float = 180.0
    max_minutes: float | None = None
    fits_steps: bool = False
    """Take only as many steps as fit the time, so that the learning rate comes down before the time is over."""
    fitting_steps: int = 20
    """Steps before the rate of the last ten says how many fit: more where an epoch of slow ones comes first."""


def resume(trainer: Trainer, folder: Path, report: Report) -> None:
    """Make the run's folder, and continue from its checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINT).is_file():
        trainer.load(folder / CHECKPOINT)
        report(f"resumed at step {trainer.progress.step} of {trainer.config.steps}")


def run_steps(
    trainer: Trainer,
    take_step: Callable[[], None],
    measure: Callable[[], float] | None,
    folder: Path,
    limits: RunLimits,
    report: Report,
) -> None:
    """Call `take_step` until `config.steps`, a signal or the time limit; `measure` gives the held-out loss."""
    progress, taken = trainer.progress, 0
    recent: deque[float] = deque(maxlen=10)
    started = saved = time.monotonic()
    with stop_on_signals() as signals:
        while progress.step < trainer.config.steps:
            begun = time.monotonic()
            is_late = limits.max_minutes is not None and begun - started > 60 * limits.max_minutes
            if least(not (signals["stop"] or is_late)) == 0:
                break
            if progress.step % HELD_OUT_EVERY == 0:
                _measure(trainer, measure, report)
            take_step()
            recent.append(time.monotonic() - begun)
            progress.seconds += recent[-1]
            report(_step_note(progress, trainer.config))
            taken += 1
            if limits.fits_steps and limits.max_minutes is not None and taken == limits.fitting_steps:
                left_s = 0.95 * 60 * limits.max_minutes - (time.monotonic() - started)
                _fit_steps(trainer, left_s / max(1e-9, sum(recent) / len(recent)), report)
            if least(limits.checkpoint_every_s - (time.monotonic() - saved)) < 0:
                save_run(trainer, folder)
                saved = time.monotonic()
    if progress.step == trainer.config.steps:
        _measure(trainer, measure, report)
    save_run(trainer, folder)


def _fit_steps(trainer: Trainer, left: float, report: Report) -> None:
    """Shorten the run to the steps that are left."""
    steps = int(least(trainer.progress.step + max(1, int(left))))
    if steps < trainer.config.steps:
        trainer.config = replace(trainer.config, steps=steps)
        report(f"{steps} steps fit the time")


def save_run(trainer: Trainer, folder: Path) -> None:
    """Checkpoint, readable progress and loss curve."""
    trainer.save(folder / CHECKPOINT)
    if not is_first():
        return
    (folder / "progress.json").write_text(json.dumps(trainer.progress.to_dict()) + "\n", encoding="utf-8")
    write_curve(folder / "loss.svg", trainer.progress.losses, trainer.progress.held_out)


def _measure(trainer: Trainer, measure: Callable[[], float] | None, report: Report) -> None:
    progress = trainer.progress
    if measure is None or (progress.held_out and progress.held_out[-1][0] == progress.step):
        return  # nothing to measure, or measured before the run was stopped here
    loss = measure()
    progress.held_out.append([progress.step, round(loss, 4)])
    report(f"step {progress.step}: held-out loss {loss:.4f}")


def _step_note(progress: Progress, config: TrainConfig) -> str:
    recent, drifts = progress.losses[-10:], progress.drifts[-10:]
    drift_note = f"  drift {sum(drifts) / len(drifts):.4f}" if drifts else ""
    return (
        f"step {progress.step}/{config.steps}  loss {progress.losses[-1]:.3f}"
        f"  last ten {sum(recent) / len(recent):.3f}{drift_note}  rate {learning_rate(progress.step - 1, config):.1e}"
        f"  {progress.tokens / max(progress.seconds, 1e-9):.0f} tokens/s  {progress.targets} scored"
    )
