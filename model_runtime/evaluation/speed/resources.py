"""Load time and memory of the runtime in a process of its own, so that nothing else counts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from model_runtime.evaluation.errors import EvaluationError

_PROBE = """
import json, resource, sys, time
start = time.perf_counter()
from dataclasses import replace
from model_runtime.config import runtime_config_from_environment
from model_runtime.runtime import Runtime
imported = time.perf_counter()
config = runtime_config_from_environment()
name = sys.argv[1]
runtime = Runtime.load(replace(config, model=name) if name else config)
loaded = time.perf_counter()
runtime.warm_up()
warm = time.perf_counter()
info = runtime.info
scale = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "import_s": imported - start, "load_s": loaded - imported, "warm_up_s": warm - loaded,
    "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**20,
    "resident_weights_mb": info.resident_bytes / 2**20, "precision": info.precision, "device": info.device,
}))
"""


def measure_load(model: str | None, rounds: int = 3) -> dict[str, Any]:
    """Cold import, load and warm-up seconds (the median load of `rounds` fresh processes) and peak memory."""
    runs = sorted((_probe(model) for _ in range(rounds)), key=lambda run: float(run["load_s"]))
    middle = runs[len(runs) // 2]
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in middle.items()}


def _probe(model: str | None) -> dict[str, Any]:
    finished = subprocess.run([sys.executable, "-c", _PROBE, model or ""], capture_output=True, text=True)
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise EvaluationError(f"the model did not load in a fresh process: {last}")
    loaded: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return loaded
