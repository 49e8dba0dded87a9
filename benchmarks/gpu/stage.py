"""Large files to a machine that takes little at a time: cut into parts with digests, received part by part, joined.

    python -m benchmarks.gpu.stage cut OUT FILE... --part-mib 44      here: OUT/000 ... OUT/NNN with parts and an index
    python -m benchmarks.gpu.stage receive OUT HOLD                   there, once a transfer: what has come is kept
    python -m benchmarks.gpu.stage join HOLD TARGET                   there, at the end: the files, checked

Every folder OUT/NNN is one transfer: a part of at most the size asked for, and the index of everything. `receive` takes
whatever parts it finds under OUT, whole or not at all, as often and in any order as they come, and says what is
missing; `join` writes a file only if every byte of it is right. Needs nothing but Python; runs without this repository.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INDEX = "index.json"
_CHUNK = 1 << 20


class StageError(Exception):
    """A part, an index or a joined file is not what it should be."""


def cut(files: list[Path], out: Path, part_bytes: int) -> dict[str, Any]:
    """Write one folder a part under `out`, each with the index, which is returned. Files keep their base name."""
    if part_bytes < 1:
        raise StageError(f"parts of {part_bytes} bytes hold nothing")
    names = [path.name for path in files]
    if len(set(names)) != len(names):
        raise StageError("two files have the same name")
    out.mkdir(parents=True, exist_ok=False)
    index: dict[str, Any] = {"files": [], "parts": []}
    for path in files:
        whole, first = hashlib.sha256(), len(index["parts"])
        with path.open("rb") as source:
            while (data := source.read(part_bytes)) or len(index["parts"]) == first:
                whole.update(data)
                number = len(index["parts"])
                folder = out / f"{number:03}"
                folder.mkdir()
                (folder / f"part-{number:03}").write_bytes(data)
                index["parts"].append({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
        parts = list(range(first, len(index["parts"])))
        size = sum(index["parts"][number]["bytes"] for number in parts)
        index["files"].append({"name": path.name, "bytes": size, "sha256": whole.hexdigest(), "parts": parts})
    for number in range(len(index["parts"])):
        (out / f"{number:03}" / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return index


def receive(source: Path, hold: Path) -> tuple[int, int]:
    """Keep every right part found under `source`; returns (parts held, parts there are). StageError for a wrong one."""
    found = sorted(source.rglob(INDEX))
    if not found:
        raise StageError(f"no {INDEX} under {source}")
    index = _read_index(found[0])
    hold.mkdir(parents=True, exist_ok=True)
    held = hold / INDEX
    if held.is_file() and _read_index(held) != index:
        raise StageError(f"{hold} holds parts of something else")
    _write_whole(held, json.dumps(index).encode())
    for number, about in enumerate(index["parts"]):
        target = hold / f"part-{number:03}"
        for path in sorted(source.rglob(target.name)):
            if not _is_right(target, about):
                if not _is_right(path, about):
                    raise StageError(f"{path} is not the part it should be: send it again")
                _copy_whole(path, target)
    return len(index["parts"]) - len(missing(hold)), len(index["parts"])


def missing(hold: Path) -> list[int]:
    """Numbers of the parts that have not come; by size, since only right ones are kept."""
    parts = _read_index(hold / INDEX)["parts"]
    paths = [hold / f"part-{number:03}" for number in range(len(parts))]
    return [
        number
        for number, (path, about) in enumerate(zip(paths, parts, strict=True))
        if not path.is_file() or path.stat().st_size != about["bytes"]
    ]


def join(hold: Path, target: Path) -> list[Path]:
    """Write every file of the index into `target`; StageError naming the missing parts or the file that is wrong."""
    index = _read_index(hold / INDEX)
    if absent := missing(hold):
        raise StageError(f"parts still missing: {', '.join(map(str, absent))}")
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for about in index["files"]:
        if Path(about["name"]).name != about["name"] or about["name"] in ("", ".", ".."):
            raise StageError(f"the index names a file outside the target: {about['name']!r}")
        path, digest = target / about["name"], hashlib.sha256()
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as joined:
            for number in about["parts"]:
                for chunk in _chunks(hold / f"part-{number:03}"):
                    digest.update(chunk)
                    joined.write(chunk)
        if digest.hexdigest() != about["sha256"]:
            partial.unlink()
            raise StageError(f"{about['name']} came out wrong: send its parts again")
        partial.replace(path)
        written.append(path)
    return written


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        _ = [about["bytes"] + len(about["sha256"]) for about in [*index["parts"], *index["files"]]]
        _ = [index["parts"][number] for about in index["files"] for number in about["parts"]]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise StageError(f"{path} is not an index: {type(error).__name__}") from None
    return dict(index)


def _is_right(path: Path, about: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != about["bytes"]:
        return False
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest() == about["sha256"]


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _copy_whole(source: Path, target: Path) -> None:
    """A part is there or not there, never half."""
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def _write_whole(target: Path, data: bytes) -> None:
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    partial.replace(target)


def main(arguments: list[str] | None = None) -> int:
    """0 when done; 1 with a line on stderr. `receive` is done whatever is still missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cutting = commands.add_parser("cut", help="cut files into parts")
    cutting.add_argument("out", type=Path)
    cutting.add_argument("files", type=Path, nargs="+")
    cutting.add_argument("--part-mib", type=float, default=44, help="size of a part (default %(default)s)")
    receiving = commands.add_parser("receive", help="keep the parts that have come")
    receiving.add_argument("source", type=Path)
    receiving.add_argument("hold", type=Path)
    joining = commands.add_parser("join", help="write the files")
    joining.add_argument("hold", type=Path)
    joining.add_argument("target", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "cut":
            index = cut(options.files, options.out, int(options.part_mib * 2**20))
            print(f"{len(index['parts'])} parts of {len(index['files'])} files in {options.out}")
        elif options.command == "receive":
            held, total = receive(options.source, options.hold)
            print(f"{held} of {total} parts; missing: {', '.join(map(str, missing(options.hold))) or 'none'}")
        else:
            for path in join(options.hold, options.target):
                print(f"{path}: {path.stat().st_size} bytes")
    except (StageError, OSError) as error:
        print(f"stage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
