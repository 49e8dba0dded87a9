"""The card of a run: what was trained, from what, by which command, how long, with what result. Sorted JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model_runtime.config import default_home
from model_runtime.training.config import TrainConfig
from model_runtime.training.loop import Progress

CARD = "card.json"


def machine() -> dict[str, Any]:
    """What the run ran on, as far as its speed depends on it."""
    return {
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "architecture": platform.machine(),
        "torch": torch.__version__,
    }


def write_card(
    folder: Path,
    stage: str,
    config: TrainConfig,
    progress: Progress,
    sources: Mapping[str, Any],
    argv: list[str],
) -> None:
    """Write `card.json` into the run's folder; `sources` names base and data. Earlier figures are kept."""
    path = folder / CARD
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    last = progress.losses[-10:]
    card = {
        **earlier,
        "stage": stage,
        "config": config.to_dict(),
        **sources,
        "command": " ".join(["seedls", "train", *map(_for_readers, argv)]),
        "finished": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "python": sys.version.split()[0],
        "steps": progress.step,
        "samples": progress.samples,
        "tokens": progress.tokens,
        "scored_tokens": progress.targets,
        "minutes": round(progress.seconds / 60, 1),
        "training_loss_last_ten_steps": round(sum(last) / len(last), 4) if last else None,
        "held_out_loss": progress.held_out,
    }
    write_json(path, card)


def _for_readers(word: str) -> str:
    """A word of the command without the folders of the machine it ran on, which say nothing to a reader."""
    path = Path(word)
    if not path.is_absolute():
        return word
    for folder, shown in ((default_home(), Path("SEEDLS_HOME")), (Path.cwd(), Path())):
        if path.is_relative_to(folder):
            return (shown / path.relative_to(folder)).as_posix()
    return path.name


def add_figures(path: Path, name: str, figures: dict[str, Any]) -> None:
    """Add a named block of measured figures to a card; a card that does not exist yet is begun."""
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    card.setdefault("figures", {})[name] = figures
    write_json(path, card)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON atomically."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
