"""Installed models: listing, installing, importing, verifying, finding.

Owns the layout of the home folder (`models/<name>/` checkpoints, `sources/` downloads, `locks/`) and the order of
work: already there, else obtain the source, else convert it. How bytes arrive is download.py's business, how they
become a checkpoint conversion.py's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_runtime.adapters import adapter_paths
from model_runtime.checkpoint import read_family
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
from model_runtime.families.config import FamilyConfig, read_family_config
from model_runtime.families.table import Family, family_by_name
from model_runtime.latency import measured_ms_per_byte
from model_runtime.manifest import FileDigest, Manifest, check_name, load_manifest, manifest_names, models_folder
from model_runtime.memory import forward_bytes, memory_need
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
    family: str = ""
    """Row of the family table, "" for the default models."""
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    """Precision -> memory with a cache of 4096 tokens, of an installed model."""
    adapters: Mapping[str, int] = field(default_factory=dict)
    """Kind -> bytes of the adapters that are added at load, of an installed model."""
    expected_ms: Mapping[str, float] = field(default_factory=dict)
    """Precision -> ms of a forward of one token on the device last measured here, judged by the weights it reads; empty
    until `seedls doctor` or a first completion measured one."""


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
    with model_lock(home, name, report):
        if _is_current(manifest, folder):  # another process may have done it while this one waited
            return folder
        _check_space(home, manifest)
        source = obtain_source(manifest.source, home / "sources", part_of(report, 0.0, _DOWNLOAD_SHARE))
        _convert_source(manifest, source, folder, part_of(report, _DOWNLOAD_SHARE, 1.0))
        if not keep_source:
            source.unlink()
    return folder


def import_checkpoint(
    path: Path,
    name: str,
    home: Path | None = None,
    progress: Progress | None = None,
    *,
    family: str | None = None,
    bits: int | None = None,
    calibrate: bool = False,
    name_hint: str = "",
) -> Path:
    """Make a GGUF file or a Hugging Face folder the installed model `name`, every token kept.

    A folder of the family table stays as it is published, or gets weights of `bits` 8 or 4; `family` says which row
    where the folder does not tell, `name_hint` is the name it was published under. A manifest's name is accepted for
    that model's own source file only (installing without a network).
    """
    report = progress or no_progress
    path, home = Path(path), home or default_home()
    if not path.exists():
        raise CheckpointMissing(f"no checkpoint at {path}")
    try:
        check_name(name)
    except CheckpointMissing as error:
        raise RequestError(str(error)) from None
    row = _family_of(path, family, bits, name_hint)
    folder = home / "models" / name
    if row is not None and name in manifest_names():
        raise RequestError(f"{name!r} is the name of another model: import {path} under another one")
    digest = _digest_of(path, part_of(report, 0.0, 0.3))
    with model_lock(home, name, report):
        if row is not None:
            from model_runtime.family_import import import_family

            rest, width = part_of(report, 0.3, 1.0), _bits(bits)
            import_family(path, folder, row, digest, bits=width, calibrate=calibrate, progress=rest)
            return folder
        if name in manifest_names():
            manifest = load_manifest(name)
            if digest != manifest.source.digest:
                raise CheckpointMismatch(f"{path} is not the source of {name!r}: import it under another name")
            _convert_source(manifest, path, folder, part_of(report, 0.3, 1.0))
        else:
            convert(path, folder, name=name, source_digest=digest, progress=part_of(report, 0.3, 1.0))
    return folder


def quantize_model(
    model: str,
    bits: int,
    name: str,
    home: Path | None = None,
    progress: Progress | None = None,
    *,
    calibrate: bool = True,
) -> Path:
    """Install a smaller copy of an installed family model or a folder as `name`: `bits` 8, or 4 calibrated on code.

    RequestError for other widths, for the model's own name and for models that are not of the family table.
    """
    source = find_checkpoint(model, home)
    if name == model or source == (home or default_home()) / "models" / name:
        raise RequestError(f"give the smaller copy of {model!r} another name")
    if not source.is_dir() or read_family(source) is None:
        raise RequestError(f"{model!r} is not of the family table: it is quantised when it is loaded")
    return import_checkpoint(source, name, home, progress, bits=bits, calibrate=calibrate)


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
    family = _installed_family(folder)
    if manifest is None and not (folder / RECORD_FILE).is_file():
        known = ", ".join(manifest_names())
        raise CheckpointMissing(f"no model {name!r}: it is not installed in {home} and not one of {known}")
    try:
        record = read_record(folder)
    except CheckpointError:
        record = None
    if manifest is not None and not _is_current(manifest, folder):
        record = None
    shape = family or (_own_shape(folder) if record else None)
    return ModelDetails(
        name=name,
        is_installed=record is not None,
        description=manifest.description if manifest else f"imported, {family.family.name}" if family else "imported",
        origin=manifest.origin if manifest else "",
        licence=manifest.licence if manifest else family.family.licence if family else "",
        path=folder if record else None,
        download_bytes=manifest.source.digest.num_bytes if manifest else 0,
        checkpoint_bytes=sum(file.num_bytes for file in record.files.values()) if record else 0,
        vocabulary_rows=len(record.kept_ids) or (family.shape.vocab_size if family else 0) if record else 0,
        digest=record.digest if record else "",
        family=family.family.name if family else "",
        memory_bytes=_memory(shape) if shape else {},
        adapters=_adapter_sizes(folder, name) if record else {},
        expected_ms=_expected_ms(shape, home) if shape else {},
    )


def _adapter_sizes(folder: Path, name: str) -> dict[str, int]:
    return {kind: path.stat().st_size for kind, path in adapter_paths(folder, models_folder() / name).items()}


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


def _family_of(path: Path, asked_for: str | None, bits: int | None, name_hint: str) -> Family | None:
    """The row a folder is imported as; None for a GGUF file and for the default model's own kind."""
    if path.is_dir():
        from model_runtime.family_import import family_of_folder

        family = family_of_folder(path, asked_for, name_hint)
        if family.name != "qwen2":
            return family
        if bits is not None:
            raise RequestError(f"{path} is a plain Qwen2: it is quantised when it is loaded, import it without bits")
        return None
    if asked_for is not None or bits is not None:
        raise RequestError(f"{path} is a file: families are imported from folders of safetensors")
    return None


def _bits(bits: int | None) -> Literal[4, 8] | None:
    if bits is None:
        return None
    if bits not in (4, 8):
        raise RequestError(f"weights of {bits} bits are not supported (4 and 8 are)")
    return 8 if bits == 8 else 4


def _installed_family(folder: Path) -> FamilyConfig | None:
    try:
        return read_family(folder) if folder.is_dir() else None
    except CheckpointError:
        return None


def _own_shape(folder: Path) -> FamilyConfig | None:
    """The default models' kind as a row of the family table, for what is computed from shapes."""
    qwen2 = family_by_name("qwen2")
    try:
        return None if qwen2 is None else read_family_config(json.loads((folder / "config.json").read_text()), qwen2)
    except (OSError, ValueError, CheckpointError):
        return None


def _precisions(family: FamilyConfig) -> list[str]:
    if family.quantization is not None:
        return [f"int{family.quantization.bits}"]
    return ["bfloat16", "int8", "int4"]


def _memory(family: FamilyConfig) -> dict[str, int]:
    return {each: memory_need(family, each, 4096).total for each in _precisions(family)}


def _expected_ms(family: FamilyConfig, home: Path) -> dict[str, float]:
    ms_per_byte = measured_ms_per_byte(home)
    if ms_per_byte is None:
        return {}
    return {each: round(forward_bytes(family, each) * ms_per_byte, 1) for each in _precisions(family)}


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
def model_lock(home: Path, name: str, progress: Progress) -> Iterator[None]:
    """One install or download of a model at a time, on this machine and over shared homes."""
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
