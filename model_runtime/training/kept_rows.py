"""What a frozen network makes of a sequence, kept on disk: computed the first time it is drawn, read ever after.

Of the upper layers the clean rows' keys and values; of the canvas rows their states as they enter the first adapted
layer; of the base its distributions. With these an epoch pays for canvas rows in upper layers and for nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from model_runtime.diffusion.noise import CanvasBlock
from model_runtime.training.denoiser import Denoiser, Teacher
from model_runtime.training.masked_blocks import Canvas, lay_out
from model_runtime.training.network import KeyValues


@dataclass(frozen=True, slots=True)
class KeptRows:
    """One sequence. L upper layers, n clean rows, R canvas rows, N asked rows."""

    keys: Tensor  # (L, H, n, D)
    values: Tensor  # (L, H, n, D)
    states: Tensor  # (R, V) float32
    teacher: Teacher


class KeptRowStore:
    """A folder of kept rows, one file a sequence; a file made from anything else is made anew."""

    def __init__(self, folder: Path, denoiser: Denoiser, healing: str) -> None:
        """`healing` tells which base the rows are of."""
        self._folder, self._denoiser, self._healing = folder, denoiser, healing
        folder.mkdir(parents=True, exist_ok=True)

    def rows(self, number: int, ids: Sequence[int], blocks: Sequence[CanvasBlock]) -> KeptRows:
        """The rows of sequence `number`."""
        path = self._folder / f"{number:06}.safetensors"
        identity = self._identity(ids, blocks)
        kept = _read(path, identity)
        if kept is None:
            kept = self._compute(ids, blocks)
            _write(path, kept, identity)
        return kept

    def _compute(self, ids: Sequence[int], blocks: Sequence[CanvasBlock]) -> KeptRows:
        denoiser = self._denoiser
        canvas = lay_out([ids], [blocks]).to(denoiser.network.device)
        with torch.no_grad():
            clean = denoiser.clean_pass(canvas.ids)
            states = denoiser.lower_states(clean.caches, canvas)[0]
        upper = clean.caches[denoiser.first_layer :]
        keys = torch.stack([cache.keys[0] for cache in upper if cache.keys is not None])
        values = torch.stack([cache.values[0] for cache in upper if cache.values is not None])
        return KeptRows(keys, values, states, denoiser.teacher(clean.states, canvas))

    def _identity(self, ids: Sequence[int], blocks: Sequence[CanvasBlock]) -> str:
        shown = [[block.anchor, block.shown, block.answers] for block in blocks]
        made_of = [self._healing, self._denoiser.first_layer, list(ids), shown]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def stack_kept(kept: Sequence[KeptRows], canvas: Canvas, first_layer: int) -> tuple[Tensor, list[KeyValues], Teacher]:
    """Rows of several sequences side by side, padded as `canvas` is: states (B, R, V), caches, teacher."""
    num_clean, num_rows = canvas.ids.shape[1], canvas.tokens.shape[1]
    device = canvas.ids.device
    states = torch.stack([_pad_rows(each.states, num_rows) for each in kept]).to(device)
    keys = torch.stack([_pad_rows(each.keys, num_clean) for each in kept], dim=1).to(device)  # (L, B, H, n, D)
    values = torch.stack([_pad_rows(each.values, num_clean) for each in kept], dim=1).to(device)
    caches = [KeyValues() for _ in range(first_layer)]
    caches += [KeyValues(keys[i], values[i]) for i in range(keys.shape[0])]
    teacher = Teacher(
        torch.cat([each.teacher.ids for each in kept]),
        torch.cat([each.teacher.probs for each in kept]),
        torch.cat([each.teacher.has_row for each in kept]),
    )
    return states, caches, teacher.to(device)


def _pad_rows(x: Tensor, num_rows: int) -> Tensor:
    """x (..., T, V) -> (..., num_rows, V)."""
    return functional.pad(x, (0, 0, 0, num_rows - x.shape[-2]))


def _read(path: Path, identity: str) -> KeptRows | None:
    from safetensors import safe_open

    if not path.is_file():
        return None
    with safe_open(path, framework="pt", device="cpu") as file:
        if (file.metadata() or {}).get("identity") != identity:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    teacher = Teacher(tensors["ids"].long(), tensors["probs"], tensors["has_row"])
    return KeptRows(tensors["keys"], tensors["values"], tensors["states"], teacher)


def _write(path: Path, kept: KeptRows, identity: str) -> None:
    from safetensors.torch import save_file

    tensors = {
        "keys": kept.keys,
        "values": kept.values,
        "states": kept.states,
        "ids": kept.teacher.ids.int(),
        "probs": kept.teacher.probs,
        "has_row": kept.teacher.has_row,
    }
    partial = path.with_suffix(".part")
    save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, partial, metadata={"identity": identity})
    partial.replace(path)
