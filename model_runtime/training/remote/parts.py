"""Large files through a narrow door: cut into parts with digests, joined again only when every part is right.

`parts.json` names each file with its size and sha256 and the parts in order with theirs. Cutting and joining may be
repeated at any point: parts that are there and right stay, a file that is there and right is not written again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model_runtime.errors import CheckpointCorrupt, CheckpointMissing

MANIFEST = "parts.json"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of one file."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CutFile:
    """A file, by its path in the folder that was cut, and its parts in order."""

    path: str
    num_bytes: int
    sha256: str
    parts: tuple[Part, ...]


def cut(folder: Path, files: Iterable[Path], out: Path, part_bytes: int) -> list[CutFile]:
    """Cut files of `folder` into `out`; parts of earlier cuts that no file needs any more are removed."""
    out.mkdir(parents=True, exist_ok=True)
    result = [_cut_file(folder, file, out, part_bytes) for file in sorted(files)]
    wanted = {part.name for file in result for part in file.parts} | {MANIFEST}
    for path in out.iterdir():
        if path.name not in wanted:
            path.unlink()
    _write(out / MANIFEST, json.dumps({"files": [asdict(file) for file in result]}, indent=1).encode())
    return result


def read_manifest(folder: Path) -> list[CutFile]:
    """What `cut` wrote; CheckpointMissing without it, CheckpointCorrupt where it is something else or names a path
    outside the folder."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointMissing(f"no {MANIFEST} in {folder}")
    try:
        files = [_file_of(raw) for raw in json.loads(path.read_text(encoding="utf-8"))["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointCorrupt(f"{path} is no manifest of parts: {type(error).__name__}") from None
    for file in files:
        for name in (file.path, *(part.name for part in file.parts)):
            if not PurePosixPath(name).name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise CheckpointCorrupt(f"{path} names {name!r}, which is outside its folder")
    return files


def missing_parts(folder: Path) -> list[Part]:
    """Parts that are not there, or not as the manifest says."""
    parts = [part for file in read_manifest(folder) for part in file.parts]
    return [part for part in parts if not is_right(folder / part.name, part.num_bytes, part.sha256)]


def join(folder: Path, out: Path) -> list[Path]:
    """Write every file of the manifest under `out`; CheckpointCorrupt naming the first part that is wrong."""
    written = []
    for file in read_manifest(folder):
        target = out / file.path
        written.append(target)
        if is_right(target, file.num_bytes, file.sha256):
            continue
        for part in file.parts:
            if not is_right(folder / part.name, part.num_bytes, part.sha256):
                raise CheckpointCorrupt(f"{folder / part.name} is missing or not what {MANIFEST} says")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        with partial.open("wb") as stream:
            for part in file.parts:
                stream.write((folder / part.name).read_bytes())
        if not is_right(partial, file.num_bytes, file.sha256):
            raise CheckpointCorrupt(f"{target}: the parts do not make the file that {MANIFEST} names")
        partial.replace(target)
    return written


def _cut_file(folder: Path, file: Path, out: Path, part_bytes: int) -> CutFile:
    parts: list[Part] = []
    whole, total = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while True:
            data = stream.read(part_bytes)
            if not data and parts:
                break
            whole.update(data)
            total += len(data)
            digest = hashlib.sha256(data).hexdigest()
            part = Part(f"{digest[:20]}.bin", len(data), digest)
            if not is_right(out / part.name, part.num_bytes, digest):
                _write(out / part.name, data)
            parts.append(part)
            if len(data) < part_bytes:
                break
    return CutFile(file.relative_to(folder).as_posix(), total, whole.hexdigest(), tuple(parts))


def _file_of(raw: Mapping[str, Any]) -> CutFile:
    parts = tuple(Part(str(part["name"]), int(part["num_bytes"]), str(part["sha256"])) for part in raw["parts"])
    return CutFile(str(raw["path"]), int(raw["num_bytes"]), str(raw["sha256"]), parts)


def is_right(path: Path, num_bytes: int, sha256: str) -> bool:
    """True when the file is there with this size and digest."""
    if not path.is_file() or path.stat().st_size != num_bytes:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(data)
    partial.replace(path)
