"""What every test run needs: marks that skip by themselves, subprocess tests last, `--run-slow`, `--update-cases`."""

from __future__ import annotations

import os
import shutil
import subprocess

import hypothesis
import pytest

from tests.support.no_network import refuse_network

__all__ = ["refuse_network"]


# In CI the same commit gives the same verdict; at a developer's desk every run searches on.
hypothesis.settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run tests marked slow")
    parser.addoption("--update-cases", action="store_true", help="rewrite the expected parts of tests/cases")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Subprocess tests last: a broken unit then shows first. Marks say what is missing when they skip."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)
    missing = {
        "slow": None if config.getoption("--run-slow") else "slow: run with --run-slow",
        "gpu": None if _has_gpu() else "needs a CUDA device",
        "model": _model_missing() if any(item.get_closest_marker("model") for item in items) else None,
    }
    for item in items:
        for mark, reason in missing.items():
            if reason and item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_gpu() -> bool:
    """Ask the driver's own tool: importing torch only to decide on skips would slow every run."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    listing = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def _model_missing() -> str | None:
    """Only whether it is there: `seedls model verify` reads every byte and takes seconds."""
    import model_runtime

    details = model_runtime.model_details("coder-0.5b")
    return None if details.is_installed else "the default model is not installed (seedls model install coder-0.5b)"
