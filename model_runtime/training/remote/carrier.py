"""This side: pack what the job needs, carry it over in small folders, fetch what came of it.

How a folder and a command reach the machine differs from place to place. A carrier is any program that is called as

    CARRIER FOLDER_IN COMMAND FOLDER_OUT

and runs the COMMAND on the machine with FOLDER_IN's files in `$IN` and what the command leaves in `$OUT` brought back
to FOLDER_OUT; its exit status is the command's. Every step may be repeated after a failure.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_runtime.errors import CheckpointMissing, RequestError
from model_runtime.training.remote.parts import MANIFEST, Part, cut, join, missing_parts, read_manifest

MIB = 1 << 20
VENDORED = ("safetensors", "tokenizers")
"""Packages the job imports beside torch; copied from this installation."""
CODE = ("model_runtime",)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one trip can carry."""

    trip_bytes: int = 60 * MIB
    part_bytes: int = 15 * MIB


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine behind a carrier, the job's folder there, and the command that starts Python there."""

    carrier: tuple[str, ...]
    root: str
    python: str = "python3"


def pack(staging: Path, repository: Path, base: Path, data: Path, extras: Sequence[Path], plan: Path) -> Path:
    """Collect code, base, data, adapters, vendored packages and the plan in `staging`/files; returns that folder."""
    files = staging / "files"
    if files.exists():
        shutil.rmtree(files)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "cuda")
    for name in CODE:
        shutil.copytree(repository / name, files / name, ignore=ignore)
    shutil.copytree(base, files / "base") if base.is_dir() else _copy(base, files / "base" / base.name)
    shutil.copytree(data, files / "data")
    for extra in extras:
        _copy(extra, files / "adapters" / extra.name)
    for package in VENDORED:
        shutil.copytree(_package_folder(package), files / "vendor" / package, ignore=ignore)
    _copy(plan, files / "plan.json")
    return files


def upload(machine: Machine, staging: Path, limits: Limits, report: Report) -> None:
    """Carry every part of `staging`/files over, as many a trip as fit; the machine joins them after the last."""
    files, parts = staging / "files", staging / "parts"
    cut(files, (path for path in files.rglob("*") if path.is_file()), parts, limits.part_bytes)
    trips = _trips([part for file in read_manifest(parts) for part in file.parts], limits.trip_bytes)
    for number, trip in enumerate(trips, 1):
        with tempfile.TemporaryDirectory(prefix="seedls-trip-") as name:
            folder = Path(name)
            shutil.copyfile(parts / MANIFEST, folder / MANIFEST)
            for part in trip:
                shutil.copyfile(parts / part.name, folder / part.name)
            _bring_bootstrap(folder)
            said = call(machine, folder, _bootstrap(machine, "receive", '--arrived "$IN"'), None)
        report(f"trip {number} of {len(trips)}: {said}")


def start(machine: Machine, report: Report) -> None:
    """Start the job; one that runs already is left alone."""
    report(call(machine, None, _on_machine(machine, "start"), None))


def status(machine: Machine, wait_s: float = 0.0) -> dict[str, object]:
    """What the job says, after waiting for its end at most so long."""
    said = call(machine, None, _on_machine(machine, "status", f"--wait {wait_s}"), None)
    answer: dict[str, object] = json.loads(said)
    return answer


def download(machine: Machine, results: Path, limits: Limits, report: Report) -> list[Path]:
    """Fetch results in as many trips as it takes, and join them under `results`/files."""
    parts = results / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    while True:
        have = " ".join(path.name for path in parts.glob("*.bin"))
        with tempfile.TemporaryDirectory(prefix="seedls-trip-") as name:
            out = Path(name)
            flags = f'--out "$OUT" --max-bytes {limits.trip_bytes} --part-bytes {limits.part_bytes} --have {have}'
            said = call(machine, None, _on_machine(machine, "hand-out", flags), out)
            arrived = list(out.iterdir())
            for path in arrived:
                shutil.copyfile(path, parts / path.name)
        report(f"{len(arrived) - 1} parts: {said}")
        missing = missing_parts(parts)
        if not missing:
            return join(parts, results / "files")
        if len(arrived) <= 1:
            raise CheckpointMissing(f"{len(missing)} parts did not come: larger than a trip can carry?")


def call(machine: Machine, folder_in: Path | None, command: str, folder_out: Path | None) -> str:
    """One trip; what the command printed. RequestError with the end of its output when it failed."""
    with tempfile.TemporaryDirectory(prefix="seedls-empty-") as empty:
        words = [*machine.carrier, str(folder_in or empty), command, str(folder_out or empty)]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RequestError(f"the machine answered {result.returncode}: {(result.stderr or result.stdout)[-800:]}")
    return result.stdout.strip()


def _on_machine(machine: Machine, verb: str, flags: str = "") -> str:
    files = shlex.quote(f"{machine.root}/files")
    path = f"PYTHONPATH={files}:{files}/vendor"
    root = shlex.quote(machine.root)
    return f"{path} {machine.python} -m model_runtime.training.remote {verb} --root {root} {flags}".strip()


def _bootstrap(machine: Machine, verb: str, flags: str) -> str:
    """Before anything is joined, the code that joins travels with every trip."""
    root = shlex.quote(machine.root)
    return f'PYTHONPATH="$IN/code" {machine.python} -m model_runtime.training.remote {verb} --root {root} {flags}'


def _bring_bootstrap(folder: Path) -> None:
    package = Path(__file__).resolve().parents[2]
    wanted = ["errors.py", "training/__init__.py"]
    wanted += [f"training/remote/{path.name}" for path in Path(__file__).parent.glob("*.py")]
    for name in wanted:
        _copy(package / name, folder / "code" / "model_runtime" / name)
    (folder / "code" / "model_runtime" / "__init__.py").write_text("", encoding="utf-8")


def _trips(parts: Sequence[Part], trip_bytes: int) -> list[list[Part]]:
    trips: list[list[Part]] = []
    for part in {part.name: part for part in parts}.values():
        if part.num_bytes > trip_bytes:
            raise RequestError(f"a part of {part.num_bytes:,} bytes does not fit a trip of {trip_bytes:,}")
        if not trips or sum(p.num_bytes for p in trips[-1]) + part.num_bytes > trip_bytes:
            trips.append([])
        trips[-1].append(part)
    return trips


def _package_folder(name: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise CheckpointMissing(f"package {name} is not installed here: it cannot be packed")
    return Path(spec.origin).parent


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
