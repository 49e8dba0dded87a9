"""Bringing a repository of the Hugging Face hub to this machine, file by file, and installing it as a family.

Only configuration, vocabulary and safetensors are downloaded: published Python files and pickles never are. A weight
file goes on where the last run stopped and is checked against the digest the hub states. Offline switches are
respected.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model_runtime.config import default_home, is_offline
from model_runtime.conversion import Progress, hash_file, no_progress, part_of
from model_runtime.download import wrong_digest
from model_runtime.errors import CheckpointMissing, CheckpointUnsafe, InstallError, RequestError
from model_runtime.hub_transfer import Arrived, transfer
from model_runtime.install import import_checkpoint, model_lock
from model_runtime.manifest import FileDigest, check_name

_TEXTS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "model.safetensors.index.json",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_DOWNLOAD_SHARE = 0.8
_ARRIVAL_SHARE = 0.9  # of one file's share; the rest is its digest


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository."""

    name: str
    num_bytes: int
    sha256: str | None
    """What the hub says of a large file; None for small ones."""


class Hub(Protocol):
    """What is asked of the hub."""

    def files(self, repository: str, revision: str | None) -> tuple[str, Sequence[HubFile]]:
        """The commit a revision stands for, and its files."""

    def fetch(self, repository: str, commit: str, file: HubFile, folder: Path, arrived: Arrived) -> Path:
        """One file into `folder`, going on with what an earlier call left there."""


def pull_model(
    repository: str,
    name: str | None = None,
    home: Path | None = None,
    progress: Progress | None = None,
    *,
    family: str | None = None,
    bits: int | None = None,
    keep_source: bool = True,
    hub: Hub | None = None,
) -> Path:
    """Download `owner/name[@revision]` and install it; returns the checkpoint folder.

    RequestError for a name that is none, InstallError when the hub does not deliver or downloads are switched off,
    CheckpointUnsafe for a repository with pickles only, CheckpointCorrupt for a file with another digest.
    """
    report, home = progress or no_progress, home or default_home()
    repository, _, revision = repository.partition("@")
    owner, slash, short = repository.partition("/")
    if not (owner and slash and short) or "/" in short or ".." in repository:
        raise RequestError(f"{repository!r} is not a hub repository (owner/name or owner/name@revision)")
    name = name or short
    try:
        check_name(name)
    except CheckpointMissing as error:
        raise RequestError(str(error)) from None
    if is_offline():
        raise InstallError(f"{repository} cannot be pulled: downloads are switched off")
    client = hub or HuggingFaceHub()
    commit, files = client.files(repository, revision or None)
    wanted = wanted_files(repository, files)
    folder = home / "sources" / "hub" / f"{owner}--{short}--{commit[:12]}"
    with model_lock(home, f"{owner}--{short}", report):
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(folder, wanted)
        _fetch_all(client, repository, commit, wanted, folder, part_of(report, 0.0, _DOWNLOAD_SHARE))
    installed = import_checkpoint(
        folder, name, home, part_of(report, _DOWNLOAD_SHARE, 1.0), family=family, bits=bits, name_hint=short
    )
    if not keep_source:
        shutil.rmtree(folder)
    return installed


def wanted_files(repository: str, files: Sequence[HubFile]) -> list[HubFile]:
    """Small files first. CheckpointUnsafe where the weights are pickles, CheckpointMissing where there are none."""
    weights = [file for file in files if file.name.endswith(".safetensors") and "/" not in file.name]
    if not weights:
        pickles = [file.name for file in files if file.name.endswith(_PICKLES)]
        if pickles:
            raise CheckpointUnsafe(f"{repository} has its weights as pickles ({pickles[0]}): they are never opened")
        raise CheckpointMissing(f"{repository} has no safetensors weights")
    texts = [file for file in files if file.name in _TEXTS]
    return [*texts, *sorted(weights, key=lambda file: file.name)]


def _fetch_all(
    client: Hub, repository: str, commit: str, files: Sequence[HubFile], folder: Path, report: Progress
) -> None:
    """Download and check each file; what is there with its digest is not asked for again."""
    total, done = max(1, sum(file.num_bytes for file in files)), 0
    for file in files:
        message = f"downloading {file.name} ({file.num_bytes / 1e6:,.0f} MB)"
        part = part_of(report, done / total, (done + file.num_bytes) / total)
        part(message, 0.0)

        def arrived(num_bytes: int, part: Progress = part, message: str = message, size: int = file.num_bytes) -> None:
            part(message, _ARRIVAL_SHARE * min(1.0, num_bytes / max(1, size)))

        path = client.fetch(repository, commit, file, folder, arrived)
        if file.sha256 is not None:
            found = hash_file(path, part_of(part, _ARRIVAL_SHARE, 1.0))
            expected = FileDigest(file.num_bytes, file.sha256)
            if found != expected:
                path.unlink()
                raise wrong_digest(path, found, expected)
        done += file.num_bytes


def _check_space(folder: Path, files: Sequence[HubFile]) -> None:
    """Refuse before downloading what the disk cannot hold; what is here already needs no room."""
    needed = sum(file.num_bytes for file in files)
    needed -= sum(path.stat().st_size for file in files for path in _here(folder, file.name) if path.is_file())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InstallError(f"{folder} has {free / 1e9:.1f} GB free, the download needs {needed / 1e9:.1f}")


def _here(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a file lies when it is whole, and until then."""
    return folder / name, folder / f".{name}.part"


class HuggingFaceHub:
    """The hub, through its official client; `endpoint` replaces its address (as HF_ENDPOINT does)."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def files(self, repository: str, revision: str | None) -> tuple[str, Sequence[HubFile]]:
        """InstallError in one line where the hub does not answer or has no such repository or revision."""
        from huggingface_hub import HfApi

        try:
            info = HfApi(endpoint=self._endpoint).model_info(repository, revision=revision, files_metadata=True)
        except Exception as error:  # the client raises its own and the HTTP library's errors
            raise InstallError(f"the hub does not deliver {repository}: {_first_line(error)}") from None
        return str(info.sha), [
            HubFile(each.rfilename, int(each.size or 0), _sha256(each.lfs)) for each in info.siblings or ()
        ]

    def fetch(self, repository: str, commit: str, file: HubFile, folder: Path, arrived: Arrived) -> Path:
        """InstallError in one line; the bytes of a large file that came stay for the next run."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()  # two bars on one terminal overwrite each other
        try:
            if file.sha256 is None:
                return Path(
                    hf_hub_download(repository, file.name, revision=commit, local_dir=folder, endpoint=self._endpoint)
                )
            whole, part = _here(folder, file.name)
            if not whole.is_file():
                transfer(repository, file.name, part, file.num_bytes, arrived, revision=commit, endpoint=self._endpoint)
                part.replace(whole)
            return whole
        except Exception as error:
            raise InstallError(f"the hub does not deliver {repository} {file.name}: {_first_line(error)}") from None


def _sha256(lfs: Any) -> str | None:
    return None if lfs is None else str(getattr(lfs, "sha256", None) or lfs["sha256"])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
