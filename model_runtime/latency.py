"""The measured latency curve of a device, kept on disk so that it is measured once and not at every start.

One small JSON file a device, model and set-up, under `latency/` of the home folder. A file that cannot be read counts
as not there: it is measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model_runtime.diffusion.schedule import LatencyCurve

if TYPE_CHECKING:
    import torch

# Changes when forwards of the same rows cost something else for a reason in this package.
_FORMAT = 1

CURVE_ROWS = (1, 4, 8, 16, 32, 64)
"""Row counts measured."""


STEADY = 1.5
"""Repeats that differ by more than this factor were disturbed."""


def is_steady(times: Mapping[int, Sequence[float]]) -> bool:
    """Whether repeated measurements (rows -> ms each) agree well enough to be kept.

    What a busy machine adds does not grow with the rows, so a disturbed curve makes large blocks look cheap; kept, it
    would mislead the scheduler at every later start. One repeat proves nothing.
    """
    return all(len(each) > 1 and max(each) <= STEADY * min(each) for each in times.values())


def latency_file(home: Path, device: torch.device, precision: str, digest: str) -> Path:
    """Where the curve of this device, torch, thread count and model is kept."""
    import torch

    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor_name()}, {torch.get_num_threads()} threads"
    key = json.dumps([_FORMAT, name, torch.__version__, precision, digest])
    return home / "latency" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def read_curve(file: Path) -> LatencyCurve | None:
    """The curve written there, None if there is none or it makes no sense."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        measured = {int(rows): float(ms) for rows, ms in raw["ms"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not measured or not all(rows > 0 and 0 < ms < 1e6 for rows, ms in measured.items()):
        return None
    return LatencyCurve.of(measured)


def write_curve(file: Path, measured: dict[int, float], weight_bytes: int = 0) -> None:
    """Write rows -> ms in one step, so that another process reads the old file or the new one; failing is harmless.

    `weight_bytes` is what such a forward reads of the model measured, for `measured_ms_per_byte`.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump({"ms": {str(rows): ms for rows, ms in measured.items()}, "weight_bytes": weight_bytes}, stream)
        Path(name).replace(file)
    except OSError:
        return  # a full or read-only disk: the curve is measured again next time


def measured_ms_per_byte(home: Path) -> float | None:
    """Milliseconds a forward of one row takes for each byte of weights, by the newest curve; None where none was kept.

    A forward of one row is bound by reading the weights once, so this foretells other models on the device, roughly.
    """
    try:
        files = sorted((home / "latency").glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files:
            raw, curve = json.loads(file.read_text(encoding="utf-8")), read_curve(file)
            if curve is not None and raw.get("weight_bytes"):
                return curve.ms(1) / float(raw["weight_bytes"])
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return None


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
