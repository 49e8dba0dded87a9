"""`seedls doctor`: the report with and without a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import model_runtime
from seedls.cli import main
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]


@pytest.fixture(autouse=True)
def quick_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing installed, and torch is not loaded to look at devices."""
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path))
    monkeypatch.setitem(model_runtime.__dict__, "describe_devices", lambda: {"cpu": "some", "cuda": "no device"})


def test_the_curve_has_a_point_for_every_block_size(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--context", "64"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {row: report["latency"][row] for row in ("1", "8", "16", "32")} == {"1": 11, "8": 18, "16": 26, "32": 42}
    assert "64 cached tokens" in report["latency"]["unit"]
    assert report["device"] == {"cpu": "some", "cuda": "no device"}
    assert report["model"]["precision"] == "float32"
    assert report["software"]["python"].startswith("3.")


def test_the_text_form_shows_rates(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "1 row " in shown and "32 rows" in shown
    assert f"{8 / 18 * 1000:.1f} rows/s" in shown


def test_no_measure_does_not_load(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-measure"]) == 0
    assert not script.configs and "latency" not in capsys.readouterr().out


def test_a_model_that_does_not_load_is_in_the_report(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(config: object, progress: object = None) -> object:
        raise model_runtime.CheckpointMissing("coder-0.5b is not installed")

    monkeypatch.setattr(model_runtime.Runtime, "load", load)
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["model"]["problem"] == "coder-0.5b is not installed"


def test_devices_are_described_by_the_runtime() -> None:
    from model_runtime.device_report import describe_devices

    facts = describe_devices()
    assert {"torch", "cpu", "cuda"} <= set(facts)
    assert all(isinstance(value, str) and value for value in facts.values())
