"""Write a trained adapter as an int8 file in the format of `model_runtime.adapters`.

Rows are scaled by their own maximum, so the error of an entry is at most half of scale: 1/254 of its row's largest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_runtime.adapters import ADAPTER_FORMAT, EDIT_HEAD, MASK_EMBEDDING, METADATA_KEY
from model_runtime.errors import CheckpointCorrupt, CheckpointMissing
from model_runtime.training.network import TrainingNetwork
from model_runtime.training.runs import CHECKPOINT

CALIBRATION = "calibration.json"
"""Of a run that measured how far its probabilities can be trusted; what it says goes into the adapter's metadata."""


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight (rows, columns) float32 -> int8 of the same shape and float32 scales (rows,)."""
    scale = weight.abs().amax(dim=1) / 127
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return torch.round(weight / safe[:, None]).clamp(-127, 127).to(torch.int8), safe


def write_adapter(
    path: Path,
    factors: Mapping[str, tuple[Tensor, Tensor]],
    metadata: Mapping[str, Any],
    whole: Mapping[str, Tensor] | None = None,
) -> int:
    """Write the factors {weight name: (A, B)}; metadata needs kind, rank, alpha, base, base_digest. Returns bytes.

    `whole` tensors (mask embedding, edit head) stay float32.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, (a, b) in factors.items():
        for part, factor in (("lora_a", a), ("lora_b", b)):
            values, scale = quantise_rows(factor.detach().float().cpu())
            tensors[f"{name}.{part}"] = values
            tensors[f"{name}.{part}_scale"] = scale
    for name, tensor in (whole or {}).items():
        tensors[name] = tensor.detach().float().cpu().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    document = {"format": ADAPTER_FORMAT, **metadata}
    save_file(tensors, partial, metadata={METADATA_KEY: json.dumps(document, sort_keys=True)})
    partial.chmod(0o644)  # the library writes files only their owner can read
    partial.replace(path)
    return path.stat().st_size


def export_run(run: Path, path: Path, base: Mapping[str, str]) -> int:
    """Write the adapter of a run's last checkpoint; returns the file's size in bytes.

    The run's card and loss curve, where it has them, go beside it as NAME.card.json and NAME.loss.svg.
    """
    document, parameters = read_checkpoint(run)
    config = document["config"]
    whole = {name: parameters.pop(name) for name in (MASK_EMBEDDING, EDIT_HEAD) if name in parameters}
    metadata = {
        **({"stages": [*config["earlier"], config["stage"]], "healing": config["healing"]} if whole else {}),
        **(json.loads((run / CALIBRATION).read_text(encoding="utf-8")) if (run / CALIBRATION).is_file() else {}),
        "kind": "mask" if whole else "healing",
        "rank": config["rank"],
        "alpha": config["alpha"],
        "base": base["name"],
        "base_digest": base["digest"],
        "steps": document["progress"]["step"],
        "seed": config["seed"],
    }
    num_bytes = write_adapter(path, factor_pairs(parameters), metadata, whole)
    for name in ("card.json", "loss.svg"):
        if (run / name).is_file():
            shutil.copyfile(run / name, path.with_name(f"{path.stem}.{name}"))
    return num_bytes


def read_run(run: Path, network: TrainingNetwork) -> int:
    """Attach a run's float32 adapter to a network; returns the number of steps it was trained."""
    document, parameters = read_checkpoint(run)
    config = document["config"]
    layers = range(config["first_layer"], network.config.num_layers)
    network.attach_adapter(layers, config["rank"], config["alpha"], config["seed"])
    pairs = factor_pairs(parameters)
    with torch.no_grad():
        for name, linear in network.adapted_linears():
            assert linear.lora_a is not None and linear.lora_b is not None
            linear.lora_a.copy_(pairs[name][0])
            linear.lora_b.copy_(pairs[name][1])
    steps: int = document["progress"]["step"]
    return steps


def read_checkpoint(run: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a run's checkpoint says about it, and its parameters by name; CheckpointMissing without one."""
    from safetensors import safe_open

    path = run / CHECKPOINT
    if not path.is_file():
        raise CheckpointMissing(f"no {CHECKPOINT} in {run}: nothing was trained there yet")
    with safe_open(path, framework="pt", device="cpu") as file:
        document = json.loads((file.metadata() or {}).get("run", "null"))
        names = [name for name in file.keys() if name.startswith("parameter.")]  # noqa: SIM118
        parameters = {name.removeprefix("parameter."): file.get_tensor(name) for name in names}
    if not isinstance(document, dict):
        raise CheckpointCorrupt(f"{path} is not a training checkpoint")
    return document, parameters


def factor_pairs(parameters: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """{weight name: (A, B)} of parameters that are factors and nothing else."""
    names = sorted({name.rpartition(".")[0] for name in parameters})
    return {name: (parameters[f"{name}.lora_a"], parameters[f"{name}.lora_b"]) for name in names}
