"""Large files to a machine that takes little at a time: cut into parts with digests, received part by part, joined.

    python -m benchmarks.gpu.stage cut OUT FILE... --part-mib 44      here: OUT/000 ... OUT/NNN, one a transfer
    python -m benchmarks.gpu.stage receive OUT HOLD                   there, once a transfer: what has come is kept
    python -m benchmarks.gpu.stage join HOLD TARGET                   there, at the end: the files, checked

Every folder OUT/NNN is one transfer: a part of at most the size asked for, and the manifest of everything. `receive`
takes whatever parts it finds under OUT, whole or not at all, as often and in any order as they come, and says what is
missing; `join` writes a file only if every byte of it is right. Parts are those of training's carrier, which needs a
way to call the other machine; this needs none.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from model_runtime.errors import CheckpointCorrupt, CheckpointMissing, RequestError, RuntimeFailure
from model_runtime.training.remote import parts
from model_runtime.training.remote.parts import MANIFEST


def cut(files: Sequence[Path], out: Path, part_bytes: int) -> int:
    """Write one folder a part under `out`, which must not exist yet; returns how many. Files keep their base name."""
    if part_bytes < 1:
        raise RequestError(f"parts of {part_bytes} bytes hold nothing")
    folders = {path.resolve().parent for path in files}
    if len(folders) != 1:
        raise RequestError(f"files of one folder, please: these are in {len(folders)}")
    out.mkdir(parents=True, exist_ok=False)
    all_parts = out / "all"
    parts.cut(folders.pop(), [path.resolve() for path in files], all_parts, part_bytes)
    paths = sorted(all_parts.glob("*.bin"))
    for number, path in enumerate(paths):
        folder = out / f"{number:03}"
        folder.mkdir()
        shutil.copyfile(all_parts / MANIFEST, folder / MANIFEST)
        path.rename(folder / path.name)
    shutil.rmtree(all_parts)
    return len(paths)


def receive(source: Path, hold: Path) -> None:
    """Keep every right part found under `source`.

    CheckpointCorrupt for a part that is not what it should be, or for parts of something else than `hold` has.
    """
    found = sorted(source.rglob(MANIFEST))
    if not found:
        raise CheckpointMissing(f"no {MANIFEST} under {source}")
    wanted = parts.read_manifest(found[0].parent)
    held = hold / MANIFEST
    if held.is_file() and parts.read_manifest(hold) != wanted:
        raise CheckpointCorrupt(f"{hold} holds parts of something else")
    hold.mkdir(parents=True, exist_ok=True)
    _copy_whole(found[0], held)
    for part in parts.missing_parts(hold):
        for path in sorted(source.rglob(part.name)):
            if not parts.is_right(path, part.num_bytes, part.sha256):
                raise CheckpointCorrupt(f"{path} is not the part it should be: send it again")
            _copy_whole(path, hold / part.name)


def missing(hold: Path) -> list[int]:
    """Numbers of the transfers whose part has not come."""
    names = sorted({part.name for file in parts.read_manifest(hold) for part in file.parts})
    return sorted({names.index(part.name) for part in parts.missing_parts(hold)})


def _copy_whole(source: Path, target: Path) -> None:
    """A part is there or not there, never half."""
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def main(arguments: list[str] | None = None) -> int:
    """0 when done; 1 with a line on stderr. `receive` is done whatever is still missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cutting = commands.add_parser("cut", help="cut files of one folder into parts")
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
            number = cut(options.files, options.out, int(options.part_mib * 2**20))
            print(f"{number} parts of {len(options.files)} files in {options.out}")
        elif options.command == "receive":
            receive(options.source, options.hold)
            print(f"missing: {', '.join(f'{number:03}' for number in missing(options.hold)) or 'none'}")
        else:
            for path in parts.join(options.hold, options.target):
                print(f"{path}: {path.stat().st_size} bytes")
    except (RuntimeFailure, OSError) as error:
        print(f"stage: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
