"""Configuration: wrong values are named, the environment is read in one place and changed only where it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_runtime.config import ModelConfig, default_home, is_offline, prepare_environment
from model_runtime.errors import CheckpointMismatch
from tests.support.tiny_model import tiny_config


def test_a_configuration_survives_its_own_json() -> None:
    config = tiny_config()
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "gpt2"}, "'gpt2'"),
        ({"hidden_size": None}, "'hidden_size'"),
        ({"num_attention_heads": 5}, "5 heads cannot share 2"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict[str, object], named: str) -> None:
    raw = {key: value for key, value in (tiny_config().to_dict() | changes).items() if value is not None}
    with pytest.raises(CheckpointMismatch, match=named):
        ModelConfig.from_dict(raw)


def test_home_and_offline_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path))
    assert default_home() == tmp_path
    for name in ("SEEDLS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert not is_offline()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert is_offline()


def test_the_users_own_waiting_policy_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    prepare_environment()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_waiting_is_passive_before_torch_comes() -> None:
    code = (
        "import os, sys, model_runtime; assert 'OMP_WAIT_POLICY' not in os.environ; model_runtime.Runtime;"
        "assert 'torch' in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.strip() == "PASSIVE"
