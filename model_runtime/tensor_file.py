"""Writing a safetensors file front to back, a tensor at a time: the header is known before any tensor is read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model_runtime.manifest import FileDigest

_NAMES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.int32: "I32",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        return torch.Size(self.shape).numel() * torch.empty(0, dtype=self.dtype).element_size()


def write_tensors(
    path: Path, specs: Sequence[TensorSpec], parts_of: Callable[[TensorSpec], Iterable[Tensor]]
) -> FileDigest:
    """Write `specs` in order; `parts_of` gives the contiguous pieces of one, in its type. Returns size and digest."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for spec in specs:
        stop = offset + spec.num_bytes
        header[spec.name] = {"dtype": _NAMES[spec.dtype], "shape": list(spec.shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in (len(text).to_bytes(8, "little"), text):
            file.write(chunk)
            digest.update(chunk)
        for spec in specs:
            written = 0
            for part in parts_of(spec):
                assert part.dtype == spec.dtype, (spec.name, part.dtype)
                data = part.contiguous().view(torch.uint8).numpy().tobytes() if part.numel() else b""
                file.write(data)
                digest.update(data)
                written += len(data)
            assert written == spec.num_bytes, (spec.name, written, spec.num_bytes)
        file.flush()
        os.fsync(file.fileno())
    return FileDigest(8 + len(text) + offset, digest.hexdigest())
