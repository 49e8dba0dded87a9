"""Defaults of the denoiser stages: what two CPU cores can pay in about an hour, and what one GPU should be given.

A recipe fills in the flags that were not given. The CPU's: an adapter in the upper layers only, short contexts, small
blocks, most sequences the base's own greedy text.
"""

from __future__ import annotations

from typing import Any

Recipe = dict[str, Any]

_CPU: Recipe = {
    "first_layer": 10,
    "rank": 16,
    "learning_rate": 1e-3,
    "warmup_steps": 20,
    "sequences": 2,
    "blocks": 12,
    "block_min": 2,
    "block_max": 10,
    "all_masked": 0.8,
    "depth_decay": 0.8,
    "greedy": 256,
    "greedy_tokens": 48,
    "greedy_share": 0.6,
    "keep": 400,
    "context": 100,
    "trajectories": 3,
}
_GPU: Recipe = {
    "first_layer": 0,
    "rank": 32,
    "learning_rate": 6e-4,
    "warmup_steps": 100,
    "sequences": 32,
    "blocks": 12,
    "block_min": 4,
    "block_max": 64,
    "all_masked": 0.5,
    "depth_decay": 0.95,
    "greedy": 8192,
    "greedy_tokens": 96,
    "greedy_share": 0.6,
    "keep": 0,
    "context": 220,
    "trajectories": 4,
}

# Later stages start from a trained adapter: lower rates, no kept rows (their canvases change with the denoiser), and
# blocks long enough for an edit within a tenth, or short enough to be denoised many times.
_STAGES: dict[str, dict[str, Recipe]] = {
    # Many short canvases over each clean sequence: the most asked rows a second (docs/log.md), and no sequence twice.
    "mask": {
        "cpu": {"steps": 2000, "learning_rate": 7e-4, "blocks": 64, "block_max": 5, "all_masked": 0.95, "keep": 0},
        "gpu": {"steps": 3000},
    },
    "edit": {
        "cpu": {"steps": 400, "learning_rate": 4e-4, "blocks": 6, "block_min": 10, "block_max": 30, "keep": 0},
        "gpu": {"steps": 1200, "learning_rate": 3e-4, "block_min": 10},
    },
    "order": {
        "cpu": {"steps": 150, "learning_rate": 2e-4, "blocks": 3, "block_min": 4, "block_max": 10, "keep": 0},
        "gpu": {"steps": 600, "learning_rate": 1e-4, "blocks": 16, "block_max": 32},
    },
    "onpolicy": {
        "cpu": {"steps": 100, "learning_rate": 1e-4, "blocks": 3, "block_min": 4, "block_max": 10, "keep": 0},
        "gpu": {"steps": 400, "learning_rate": 5e-5, "blocks": 16, "block_max": 32},
    },
}

STAGES = tuple(_STAGES)


def recipe_for(stage: str, device: str) -> Recipe:
    """Defaults of a stage on `cpu` or `cuda`."""
    name = "cpu" if device == "cpu" else "gpu"
    return {**(_CPU if name == "cpu" else _GPU), **_STAGES[stage][name]}
