"""Kept 8-bit rows: the second load makes none, gives the same network bit for bit, and no damage is ever believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import model_runtime.packed_linears as packed_linears
from model_runtime import CompletionRequest, Runtime, RuntimeConfig, SamplingParams
from model_runtime.adapters import Adapter, LowRank
from model_runtime.conversion import FileDigest, convert
from model_runtime.layers.linear import has_int8_products
from model_runtime.packed_linears import PackedLinears, packed_folder
from tests.support.tiny_model import write_tiny_gguf

pytestmark = pytest.mark.skipif(not has_int8_products(), reason="this torch has no 8-bit products")

NUM_LINEARS = 2 * 4 + 1


@pytest.fixture
def config(tmp_path: Path) -> RuntimeConfig:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf")
    convert(gguf, tmp_path / "tiny", name="tiny", source_digest=FileDigest(1, "0" * 64))
    return RuntimeConfig(
        model=str(tmp_path / "tiny"), home=tmp_path / "home", device="cpu", precision="int8", cache_tokens=256
    )


@pytest.fixture
def num_made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A list whose length is the number of matrices quantised."""
    made: list[int] = []
    quantize = packed_linears.quantize_rows
    monkeypatch.setattr(packed_linears, "quantize_rows", lambda weight: (made.append(1), quantize(weight))[1])
    yield made


def logits(config: RuntimeConfig) -> torch.Tensor:
    runtime = Runtime.load(config)
    network = runtime._network
    return network.logits(network.forward(torch.arange(40), network.new_cache(64)))


def folders(config: RuntimeConfig) -> list[str]:
    assert config.home is not None
    return sorted(path.name for path in (config.home / "packed").iterdir())


def test_the_second_load_quantises_nothing_and_is_the_same(config: RuntimeConfig, num_made: list[int]) -> None:
    first = logits(config)
    assert len(num_made) == NUM_LINEARS and len(folders(config)) == 1
    assert torch.equal(logits(config), first)
    assert len(num_made) == NUM_LINEARS
    assert torch.equal(logits(replace(config, keep_packed=False)), first)


def test_switched_off_it_keeps_nothing(config: RuntimeConfig) -> None:
    logits(replace(config, keep_packed=False))
    assert config.home is not None and not (config.home / "packed").exists()


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "another shape"])
def test_damaged_rows_are_made_again(config: RuntimeConfig, num_made: list[int], damage: str) -> None:
    first = logits(config)
    assert config.home is not None
    (folder,) = (config.home / "packed").iterdir()
    file = folder / "0003.safetensors"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "missing":
        file.unlink()
    else:
        shutil.copy(folder / "0008.safetensors", file)
    assert torch.equal(logits(config), first)
    assert len(num_made) == 2 * NUM_LINEARS
    assert torch.equal(logits(config), first) and len(num_made) == 2 * NUM_LINEARS


def test_another_adapter_is_another_folder_and_the_old_one_goes(tmp_path: Path) -> None:
    def adapter(value: float) -> Adapter:
        factors = {"w": LowRank(torch.full((2, 3), value), torch.ones(4, 2))}
        return Adapter("healing", 2, 4.0, "", factors, {}, None)

    places = [packed_folder(tmp_path, "m", "d", each) for each in (None, adapter(1.0), adapter(2.0))]
    places += [packed_folder(tmp_path, "m", "e", None), packed_folder(tmp_path, "m-x", "d", None)]
    assert len(set(places)) == 5
    assert packed_folder(tmp_path, "m", "d", adapter(1.0)) == places[1]
    for place in (places[0], places[4], places[1]):
        packed = PackedLinears(place)
        packed.make_linear(torch.ones(16, 16), None)
        packed.finish()
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {places[1].name, places[4].name}


def test_what_a_killed_load_left_goes_in_time(config: RuntimeConfig) -> None:
    assert config.home is not None
    old, new = (config.home / "packed" / f"{name}-1.part" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "0000.safetensors").write_bytes(b"half")
    os.utime(old, (0, 0))
    logits(config)
    assert new.name in folders(config) and old.name not in folders(config) and len(folders(config)) == 2


def test_many_loading_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    place = packed_folder(tmp_path, "m", "d", None)
    weight = torch.randn(32, 16)

    def load(_: int) -> None:
        packed = PackedLinears(place)
        for _ in range(5):
            packed.make_linear(weight, None)
        packed.finish()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, range(12)))
    assert [path.name for path in (tmp_path / "packed").iterdir()] == [place.name]
    assert len(list(place.iterdir())) == 5 and PackedLinears(place).is_hit


def test_a_load_that_fails_leaves_nothing_half_written(config: RuntimeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_runtime.models.qwen2.Rotary", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Runtime.load(config)
    assert folders(config) == []


def test_a_disk_that_cannot_be_written_does_not_stop_the_load(config: RuntimeConfig) -> None:
    assert config.home is not None
    config.home.mkdir()
    (config.home / "packed").write_text("a file where the folder should be")
    request = CompletionRequest("x = ", params=SamplingParams(max_tokens=4))
    assert Runtime.load(config).complete(request).tokens == 4


def test_the_latency_curve_is_measured_once_and_kept(config: RuntimeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_runtime.runtime.is_steady", lambda times: True)  # however busy this machine is
    runtime = Runtime.load(config)
    runtime.warm_up()
    curve = runtime._model.pace.curve
    assert len(curve.points) >= 3
    again = Runtime.load(config)
    assert again._model.pace.curve == curve
    monkeypatch.setattr(Runtime, "latency_curve", lambda *_, **__: pytest.fail("measured again"))
    again.warm_up()
    assert config.home is not None
    (file,) = (config.home / "latency").iterdir()
    for damage in ("", "{", '{"ms": {"1": "x"}}', '{"ms": {"1": -4}}', '{"ms": []}', "[]"):
        file.write_text(damage)
        assert Runtime.load(config)._model.pace.curve != curve
