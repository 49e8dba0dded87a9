"""Shards on disk: xz-compressed JSON lines of source files, with a manifest that names their digest.

    data/train-000.jsonl.xz  held_out-000.jsonl.xz  manifest.json

Knows the file format only; what is in a shard is decided by build.py.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from model_runtime.errors import CheckpointCorrupt, RequestError
from model_runtime.training.data.packages import SourceFile

Split = Literal["train", "held_out"]
SHARD_CHARS = 8_000_000
MANIFEST = "manifest.json"


def write_shards(folder: Path, split: Split, sources: Iterable[SourceFile]) -> list[dict[str, Any]]:
    """Write the files of one split; returns one manifest entry a shard (name, sha256, files, chars)."""
    entries: list[dict[str, Any]] = []
    batch: list[SourceFile] = []
    size = 0
    for source in sources:
        batch.append(source)
        size += len(source.text)
        if size >= SHARD_CHARS:
            entries.append(_write_shard(folder, split, len(entries), batch))
            batch, size = [], 0
    if batch:
        entries.append(_write_shard(folder, split, len(entries), batch))
    return entries


def _write_shard(folder: Path, split: Split, number: int, batch: list[SourceFile]) -> dict[str, Any]:
    lines = "".join(json.dumps(asdict(source), ensure_ascii=False) + "\n" for source in batch)
    data = lzma.compress(lines.encode("utf-8"), preset=6)
    name = f"{split}-{number:03d}.jsonl.xz"
    partial = folder / f"{name}.part"
    partial.write_bytes(data)
    partial.replace(folder / name)
    chars = sum(len(source.text) for source in batch)
    return {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "files": len(batch), "chars": chars}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a built data folder; RequestError when there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise RequestError(f"no training data in {folder}: run the data command first")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def read_shards(folder: Path, split: Split) -> Iterator[SourceFile]:
    """The files of one split, in a fixed order; CheckpointCorrupt when a shard is not the one the manifest names."""
    for entry in read_manifest(folder)["shards"][split]:
        data = (folder / entry["name"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise CheckpointCorrupt(f"shard {folder / entry['name']} does not have the digest its manifest names")
        for line in lzma.decompress(data).decode("utf-8").splitlines():
            yield SourceFile(**json.loads(line))


def data_digest(folder: Path) -> str:
    """One digest over all shards: what a training card names."""
    shards = read_manifest(folder)["shards"]
    listing = json.dumps([[entry["name"], entry["sha256"]] for split in sorted(shards) for entry in shards[split]])
    return hashlib.sha256(listing.encode()).hexdigest()
