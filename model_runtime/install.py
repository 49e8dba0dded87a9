"""Installed models: listing, installing, importing, verifying, finding.

Owns the layout of the home folder (`models/<name>/` checkpoints, `sources/` downloads, `locks/`) and the order of
work: already there, else obtain the source, else convert it. How bytes arrive is download.py's business, how they
become a checkpoint conversion.py's.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_runtime.config import default_home
from model_runtime.conversion import (
    RECORD_FILE,
    CheckpointRecord,
    Progress,
    convert,
    hash_file,
    no_progress,
    part_of,
    read_record,
)
from model_runtime.download import obtain_source, wrong_digest
from model_runtime.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointMismatch,
    CheckpointMissing,
    InstallError,
    RequestError,
)
from model_runtime.manifest import FileDigest, Manifest, check_name, load_manifest, manifest_names
from model_runtime.vocabulary import kept_digest, read_kept_list

_LOCK_SECONDS = 2 * 3600
_DOWNLOAD_SHARE = 0.75  # of the progress bar


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """One model, installed or installable."""

    name: str
    is_installed: bool
    description: str
    origin: str
    licence: str
    path: Path | None
    """The checkpoint folder, None when not installed."""
    download_bytes: int
    """Size of the source file, 0 for an imported model."""
    checkpoint_bytes: int
    """Size on disk, 0 when not installed."""
    vocabulary_rows: int
    """Embedding rows kept from the source, 0 when not installed."""
    digest: str
    """One sha256 for all files of the checkpoint, "" when not installed."""


def install_model(
    name: str, home: Path | None = None, progress: Progress | None = None, keep_source: bool = True
) -> Path:
    """Make a model of the manifests usable offline and return its checkpoint folder.

    Instant when already installed. Otherwise downloads (resuming), checks, converts; nothing half-written is ever
    found under the returned path. Raises CheckpointMissing for an unknown name, InstallError when no source
    delivers, CheckpointCorrupt naming both digests when a file is not what the manifest says.
    """
    report = progress or no_progress
    manifest = load_manifest(name)
    home = home or default_home()
    folder = home / "models" / name
    if _is_current(manifest, folder):
        return folder
    with _lock(home, name, report):
        if _is_current(manifest, folder):  # another process may have done it while this one waited
            return folder
        _check_space(home, manifest)
        source = obtain_source(manifest.source, home / "sources", part_of(report, 0.0, _DOWNLOAD_SHARE))
        _convert_source(manifest, source, folder, part_of(report, _DOWNLOAD_SHARE, 1.0))
        if not keep_source:
            source.unlink()
    return folder


def import_checkpoint(path: Path, name: str, home: Path | None = None, progress: Progress | None = None) -> Path:
    """Convert a GGUF file or a Hugging Face folder to the installed model `name`, every token kept.

    A manifest's name is accepted for that model's own source file only (installing without a network).
    """
    report = progress or no_progress
    path, home = Path(path), home or default_home()
    if not path.exists():
        raise CheckpointMissing(f"no checkpoint at {path}")
    try:
        check_name(name)
    except CheckpointMissing as error:
        raise RequestError(str(error)) from None
    folder = home / "models" / name
    digest = _digest_of(path, part_of(report, 0.0, 0.3))
    with _lock(home, name, report):
        if name in manifest_names():
            manifest = load_manifest(name)
            if digest != manifest.source.digest:
                raise CheckpointMismatch(f"{path} is not the source of {name!r}: import it under another name")
            _convert_source(manifest, path, folder, part_of(report, 0.3, 1.0))
        else:
            convert(path, folder, name=name, source_digest=digest, progress=part_of(report, 0.3, 1.0))
    return folder


def list_models(home: Path | None = None) -> list[ModelDetails]:
    """Every model that can be installed or is, by name."""
    home = home or default_home()
    installed = {file.parent.name for file in (home / "models").glob(f"[!.]*/{RECORD_FILE}")}
    return [model_details(name, home) for name in sorted({*manifest_names(), *installed})]


def model_details(name: str, home: Path | None = None) -> ModelDetails:
    """What is known about one model; CheckpointMissing if the name is neither installable nor installed."""
    check_name(name)
    home = home or default_home()
    folder = home / "models" / name
    manifest = load_manifest(name) if name in manifest_names() else None
    if manifest is None and not (folder / RECORD_FILE).is_file():
        known = ", ".join(manifest_names())
        raise CheckpointMissing(f"no model {name!r}: it is not installed in {home} and not one of {known}")
    try:
        record = read_record(folder)
    except CheckpointError:
        record = None
    if manifest is not None and not _is_current(manifest, folder):
        record = None
    return ModelDetails(
        name=name,
        is_installed=record is not None,
        description=manifest.description if manifest else "imported",
        origin=manifest.origin if manifest else "",
        licence=manifest.licence if manifest else "",
        path=folder if record else None,
        download_bytes=manifest.source.digest.num_bytes if manifest else 0,
        checkpoint_bytes=sum(file.num_bytes for file in record.files.values()) if record else 0,
        vocabulary_rows=len(record.kept_ids) if record else 0,
        digest=record.digest if record else "",
    )


def verify_model(name: str, home: Path | None = None, progress: Progress | None = None) -> None:
    """Read every file of an installed model again; CheckpointCorrupt naming the first that changed, both digests."""
    report = progress or no_progress
    home = home or default_home()
    folder = find_checkpoint(name, home)
    record = read_record(folder)
    manifest = load_manifest(name) if name in manifest_names() else None
    expected = dict(manifest.converted if manifest else {}) or record.files
    for file, digest in sorted(expected.items()):
        _check_file(folder / file, digest, report)
    source = home / "sources" / manifest.source.file if manifest else None
    if manifest and source and source.is_file():
        _check_file(source, manifest.source.digest, report)


def find_checkpoint(model: str | Path, home: Path | None = None) -> Path:
    """The checkpoint of an installed model's name, or the path itself; CheckpointMissing says how to install it."""
    home = home or default_home()
    name = str(model)
    folder = home / "models" / name
    if "/" not in name and "\\" not in name and not name.startswith(".") and (folder / RECORD_FILE).is_file():
        return folder
    path = Path(model).expanduser()
    if path.exists():
        return path
    try:
        is_installable = name in manifest_names()
    except CheckpointError:
        is_installable = False
    if is_installable:
        raise CheckpointMissing(f"model {name!r} is not installed in {home}: run 'seedls model install {name}'")
    raise CheckpointMissing(f"no model and no checkpoint named {name!r}")


def _check_file(path: Path, expected: FileDigest, progress: Progress) -> None:
    if not path.is_file():
        raise CheckpointMissing(f"{path} is missing")
    found = hash_file(path, progress)
    if found != expected:
        raise wrong_digest(path, found, expected)


def _is_current(manifest: Manifest, folder: Path) -> bool:
    """True if the folder holds this manifest's model, judged by its record and file sizes (reads no weights)."""
    try:
        record = read_record(folder)
    except CheckpointError:
        return False
    if record.source != manifest.source.digest or not _has_vocabulary(record, manifest):
        return False
    if manifest.converted and record.files != dict(manifest.converted):
        return False
    paths: Mapping[Path, FileDigest] = {folder / file: digest for file, digest in record.files.items()}
    return all(path.is_file() and path.stat().st_size == digest.num_bytes for path, digest in paths.items())


def _has_vocabulary(record: CheckpointRecord, manifest: Manifest) -> bool:
    return manifest.vocabulary_sha256 is None or record.vocabulary_sha256 == manifest.vocabulary_sha256


def _convert_source(manifest: Manifest, source: Path, folder: Path, progress: Progress) -> None:
    kept_ids = None
    if manifest.vocabulary_file is not None:
        kept_ids = read_kept_list(manifest.vocabulary_file)
        if kept_digest(kept_ids) != manifest.vocabulary_sha256:
            raise CheckpointCorrupt(
                f"{manifest.vocabulary_file} has sha256 {kept_digest(kept_ids)} instead of {manifest.vocabulary_sha256}"
            )
    record = convert(
        source,
        folder,
        name=manifest.name,
        source_digest=manifest.source.digest,
        kept_ids=kept_ids,
        expected_files=manifest.converted,
        progress=progress,
    )
    assert record.name == folder.name


def _digest_of(path: Path, progress: Progress) -> FileDigest:
    """Digest of a file, or of all the weights of a folder in the order of their names."""
    if path.is_file():
        return hash_file(path, progress)
    files = sorted(path.glob("*.safetensors"))
    found = [hash_file(file, progress) for file in files]
    lines = "".join(f"{file.name} {digest.sha256}\n" for file, digest in zip(files, found, strict=True))
    return FileDigest(sum(digest.num_bytes for digest in found), hashlib.sha256(lines.encode()).hexdigest())


def _check_space(home: Path, manifest: Manifest) -> None:
    """Refuse before downloading when the disk cannot hold parts, source and checkpoint together."""
    home.mkdir(parents=True, exist_ok=True)
    converted = sum(digest.num_bytes for digest in manifest.converted.values())
    needed = 2 * manifest.source.digest.num_bytes + converted
    free = shutil.disk_usage(home).free
    if free < needed:
        raise InstallError(
            f"{home} has {free / 1e9:.1f} GB free, installing {manifest.name!r} needs {needed / 1e9:.1f}"
        )


@contextmanager
def _lock(home: Path, name: str, progress: Progress) -> Iterator[None]:
    """One install of a model at a time, on this machine and over shared homes."""
    from filelock import FileLock, Timeout

    locks = home / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"waiting for another install of {name}", 0.0)
            lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise InstallError(f"another install of {name!r} has held {lock.lock_file} for two hours") from None
    except OSError as error:
        raise InstallError(f"cannot write in {home}: {error}") from None
    try:
        yield
    finally:
        lock.release()
