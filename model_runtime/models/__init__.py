"""Networks, one architecture a file, looked up by the checkpoint's `model_type`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_runtime.errors import CheckpointMismatch

if TYPE_CHECKING:
    from model_runtime.models.qwen2 import Qwen2


def network_class(architecture: str) -> type[Qwen2]:
    """The network of an architecture; CheckpointMismatch if there is none."""
    if architecture == "qwen2":
        from model_runtime.models.qwen2 import Qwen2

        return Qwen2
    raise CheckpointMismatch(f"unknown architecture {architecture!r} (known: 'qwen2')")
