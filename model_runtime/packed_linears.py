"""The 8-bit rows of a model's linears, kept on disk, so that only the first load merges and quantises.

One folder a model and set-up under `packed/` of the home, one safetensors file a linear, in the order in which the
network builds them. The folder's name holds a digest of everything the rows depend on: checkpoint, merged adapter,
and the format below. It appears whole or not at all (written beside, then renamed), so two processes may load at once.
A folder that cannot be read is thrown away and made again; what a killed process left half written goes after an hour.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model_runtime.adapters import Adapter
from model_runtime.errors import CheckpointCorrupt
from model_runtime.layers.linear import Int8Linear, quantize_rows

# Changes with the order in which a network builds its linears and with how rows are quantised.
_FORMAT = 1

_ABANDONED_S = 3600.0


def packed_folder(home: Path, name: str, digest: str, healing: Adapter | None) -> Path:
    """Where the rows of this checkpoint with this adapter merged are kept."""
    key = hashlib.sha256(f"{_FORMAT} {digest}".encode())
    if healing is not None:
        key.update(f"{healing.rank} {healing.alpha}".encode())
        for weight, factors in sorted(healing.factors.items()):
            key.update(weight.encode())
            for part in (factors.a, factors.b):
                key.update(part.contiguous().view(torch.uint8).numpy().data)
    return home / "packed" / f"{name}-{key.hexdigest()[:24]}"


class PackedLinears:
    """Builds `Int8Linear`s from the kept rows where there are some, else from weights, keeping their rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.is_hit = folder.is_dir()
        self._count = 0
        self._part: Path | None = None

    def reader(self, read: Callable[[str], Tensor], shape: Callable[[str], tuple[int, ...]]) -> Callable[[str], Tensor]:
        """`read` that leaves out the matrices whose rows are kept: a tensor without data stands for each."""

        def read_rest(name: str) -> Tensor:
            if self.is_hit and name.endswith("_proj.weight"):
                return torch.empty(shape(name), device="meta")
            return read(name)

        return read_rest

    def make_linear(self, weight: Tensor, bias: Tensor | None) -> Int8Linear:
        """The next linear; CheckpointCorrupt if the kept rows are not those of a weight of this shape."""
        file = f"{self._count:04}.safetensors"
        self._count += 1
        if self.is_hit:
            return Int8Linear(weight, bias, quantized=_read_rows(self._folder / file, weight.shape))
        values, scale = quantize_rows(weight)
        self._write(file, {"values": values, "scale": scale})
        return Int8Linear(weight, bias, quantized=(values, scale))

    def finish(self) -> None:
        """Every linear was built: what was written becomes visible."""
        if self._part is None:
            return
        for other in self._folder.parent.iterdir():
            is_older = _model_of(other) == _model_of(self._folder) and other != self._folder
            if is_older or _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
        try:
            self._part.rename(self._folder)
        except OSError:
            shutil.rmtree(self._part, ignore_errors=True)  # another process was faster
        self._part = None

    def discard(self) -> None:
        """Throw away what is kept, or half written."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._part is not None:
            shutil.rmtree(self._part, ignore_errors=True)
        self.is_hit, self._count, self._part = False, 0, None

    def _write(self, file: str, tensors: dict[str, Tensor]) -> None:
        try:
            if self._part is None and self._count == 1:
                self._folder.parent.mkdir(parents=True, exist_ok=True)
                name = tempfile.mkdtemp(
                    dir=self._folder.parent, prefix=f"{self._folder.name}-{os.getpid()}", suffix=".part"
                )
                self._part = Path(name)
            if self._part is not None:
                save_file(tensors, self._part / file)
        except (OSError, SafetensorError):
            # A full or read-only disk: nothing is kept, the model loads all the same.
            if self._part is not None:
                shutil.rmtree(self._part, ignore_errors=True)
            self._part = None


def _model_of(folder: Path) -> str:
    return "" if folder.suffix == ".part" else folder.name.rpartition("-")[0]


def _is_abandoned(folder: Path) -> bool:
    """Half written by a process that has long gone: no load takes an hour."""
    try:
        return folder.suffix == ".part" and time.time() - folder.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False  # another process was faster


def _read_rows(file: Path, shape: torch.Size) -> tuple[Tensor, Tensor]:
    try:
        with safe_open(file, framework="pt") as stream:
            # Packing copies the values; the scales would keep the whole file mapped.
            values, scale = stream.get_tensor("values"), stream.get_tensor("scale").clone()
    except (OSError, SafetensorError) as error:
        raise CheckpointCorrupt(f"{file} cannot be read: {error}") from None
    if values.shape != shape or values.dtype != torch.int8 or scale.shape != shape[:1]:
        raise CheckpointCorrupt(f"{file} holds {values.dtype} rows of {list(values.shape)}, not of {list(shape)}")
    return values, scale
