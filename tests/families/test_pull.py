"""Pulling through the hub's official client, from a hub on this machine: what is fetched, resumed, checked, refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_runtime.conversion import hash_file, no_progress
from model_runtime.download import obtain_source
from model_runtime.errors import CheckpointCorrupt, CheckpointUnsafe, InstallError
from model_runtime.hub import HuggingFaceHub, pull_model
from model_runtime.install import model_details, verify_model
from model_runtime.manifest import Source
from tests.families.local_hub import COMMIT, LocalHub, local_hub
from tests.families.published import write_published

REPOSITORY = "dllm-hub/tiny-bd3lm"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_TOKEN", "SEEDLS_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def hub(tmp_path: Path, home: Path) -> Iterator[LocalHub]:
    source = write_published("a2d-qwen3", tmp_path)
    (source / "modeling_a2d.py").write_text("raise SystemExit('never fetched')")
    (source / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with local_hub(source, REPOSITORY) as hub:
        yield hub


def pull(hub: LocalHub, home: Path, revision: str = "@v1", **options: object) -> Path:
    client = HuggingFaceHub(hub.endpoint)
    return pull_model(REPOSITORY + revision, "tiny", home, hub=client, **options)  # type: ignore[arg-type]


def test_the_command_line_pulls_a_revision_and_nothing_it_should_not(hub: LocalHub, home: Path, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-m", "seedls", "model", "pull", f"{REPOSITORY}@v1", "--name", "tiny"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"tiny is installed in {home / 'models' / 'tiny'}\n", "no second progress bar, no warnings"
    verify_model("tiny", home)
    assert model_details("tiny", home).family == "a2d-bd3lm"
    assert f"GET /api/models/{REPOSITORY}/revision/v1 " in hub.requests
    fetched = {each.split()[1].rpartition("/")[2] for each in hub.requests if f"/resolve/{COMMIT}/" in each}
    assert fetched == {"config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS}
    assert not list((home / "models" / "tiny").glob("*.py"))


def test_a_broken_off_transfer_goes_on_where_it_stopped(
    hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client writes whole pieces, of 10 MB where nothing is said: what came of the last one is lost.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.cut_at[SHARDS[1]] = 5500
    with pytest.raises(InstallError, match=f"the hub does not deliver {REPOSITORY} {SHARDS[1]}: .*503"):
        pull(hub, home)
    assert not (home / "models" / "tiny").exists()
    hub.is_up = True
    hub.requests.clear()
    shares: list[float] = []
    pull(hub, home, progress=lambda _, share: shares.append(share))
    verify_model("tiny", home)
    assert hub.asked_for(SHARDS[0]) == [], "a whole file is not asked for again"
    assert [each.rpartition(" ")[2] for each in hub.asked_for(SHARDS[1])] == ["bytes=5000-"]
    assert shares == sorted(shares) and shares[-1] > 0.99


def test_progress_counts_bytes(hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    seen: list[tuple[str, float]] = []
    pull(hub, home, progress=lambda message, share: seen.append((message, share)))
    of_a_shard = {share for message, share in seen if message.startswith(f"downloading {SHARDS[0]}")}
    assert len(of_a_shard) > (hub.folder / SHARDS[0]).stat().st_size // 1000
    assert [share for _, share in seen] == sorted(share for _, share in seen)


def test_other_bytes_than_the_hub_states_are_refused_and_fetched_anew(hub: LocalHub, home: Path) -> None:
    hub.wrong.add(SHARDS[0])
    with pytest.raises(CheckpointCorrupt, match=f"{SHARDS[0]} has sha256"):
        pull(hub, home)
    assert not (home / "models" / "tiny").exists()
    hub.wrong.clear()
    pull(hub, home)
    verify_model("tiny", home)


@pytest.mark.parametrize("switch", ["SEEDLS_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nothing(switch: str, hub: LocalHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(switch, "1")
    with pytest.raises(InstallError, match="switched off"):
        pull(hub, home)
    assert hub.requests == []


def test_what_the_hub_does_not_have_is_one_line(hub: LocalHub, home: Path) -> None:
    with pytest.raises(InstallError, match=f"the hub does not deliver {REPOSITORY}: ") as caught:
        pull(hub, home, "@v2")
    assert "\n" not in str(caught.value)
    with pytest.raises(InstallError, match="the hub does not deliver a/b: "):
        pull_model("a/b", "x", home, hub=HuggingFaceHub(hub.endpoint))


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(hub: LocalHub, home: Path) -> None:
    for shard in SHARDS:
        (hub.folder / shard).unlink()
    with pytest.raises(CheckpointUnsafe, match=r"pytorch_model\.bin"):
        pull(hub, home)
    assert not [each for each in hub.requests if "/resolve/" in each]


def test_a_default_models_source_resumes_too(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    source = Source(SHARDS[1], hash_file(hub.folder / SHARDS[1]), hub_repository=REPOSITORY, parts=())
    hub.cut_at[SHARDS[1]] = 5500
    with pytest.raises(InstallError, match="the hub did not deliver"):
        obtain_source(source, tmp_path / "sources", no_progress)
    hub.is_up = True
    hub.requests.clear()
    shares: list[float] = []
    file = obtain_source(source, tmp_path / "sources", lambda _, share: shares.append(share))
    assert file.read_bytes() == (hub.folder / SHARDS[1]).read_bytes()
    assert [each.rpartition(" ")[2] for each in hub.asked_for(SHARDS[1])] == ["bytes=5000-"]
    assert shares == sorted(shares) and [path.name for path in (tmp_path / "sources").iterdir()] == [SHARDS[1]]
