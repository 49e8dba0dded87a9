"""One checkpoint for all tests of the CUDA path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cuda_path.fused_model import write_fused_checkpoint


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint of a shape the kernels can run."""
    return write_fused_checkpoint(tmp_path_factory.mktemp("cuda_path") / "fused")
