"""The exception tree of the runtime. Every error a user can cause is one of these, with the bad value in it.

RuntimeFailure                    anything this package raises on purpose
├── CheckpointError               a checkpoint cannot be used
│   ├── CheckpointMissing         there is nothing at that path, or the model is not installed
│   ├── CheckpointCorrupt         truncated, wrong digest, unreadable header
│   ├── CheckpointUnsafe          a pickle, or a file that is not safetensors or GGUF
│   └── CheckpointMismatch        missing/extra tensors, wrong shapes, unknown architecture
├── InstallError                  no source could deliver the base weights
├── RequestError                  a request that cannot be served as asked (bad range, empty instruction)
├── OutOfMemory                   the model or its cache does not fit; carries what would
└── Cancelled                     should_stop() became true before there was anything to return
"""

from __future__ import annotations


class RuntimeFailure(Exception):
    """Base of every error this package raises on purpose."""


class CheckpointError(RuntimeFailure):
    """A checkpoint cannot be used."""


class CheckpointMissing(CheckpointError):
    """Nothing at that path, or the named model is not installed."""


class CheckpointCorrupt(CheckpointError):
    """Truncated, wrong digest, or unreadable."""


class CheckpointUnsafe(CheckpointError):
    """Not safetensors or GGUF: it is never opened."""


class CheckpointMismatch(CheckpointError):
    """Tensors, shapes or architecture are not what the configuration says."""


class InstallError(RuntimeFailure):
    """No source could deliver the base weights."""


class RequestError(RuntimeFailure):
    """A request that cannot be served as asked."""


class OutOfMemory(RuntimeFailure):
    """The model or its cache does not fit on the device."""


class Cancelled(RuntimeFailure):
    """The caller's should_stop() became true before there was anything to return."""
