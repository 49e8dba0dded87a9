"""Training on a bare machine, rehearsed with a carrier that copies folders: parts, the detached job, results."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from model_runtime.errors import CheckpointCorrupt, CheckpointMissing, RequestError
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.data.shards import MANIFEST as SHARDS_MANIFEST
from model_runtime.training.data.shards import write_shards
from model_runtime.training.remote import carrier, job
from model_runtime.training.remote.__main__ import main
from model_runtime.training.remote.parts import MANIFEST, cut, join, missing_parts, read_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
PLANS = REPOSITORY / "model_runtime" / "training" / "remote" / "plans"

# What a real carrier does with a network in between: the folder in, the command, the folder out.
CARRIER = """#!/bin/bash
set -e
arrived=$(mktemp -d) left=$(mktemp -d)
cp -r "$1/." "$arrived"
(cd / && IN="$arrived" OUT="$left" bash -c "$2")
cp -r "$left/." "$3"
rm -r "$arrived" "$left"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of awkward sizes and names."""
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").write_bytes(b"")
    (source / "exact.bin").write_bytes(b"x" * 20)
    (source / "deep" / "er" / "name with spaces 😀").write_bytes(bytes(range(256)))
    return source


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_cut_and_joined_is_the_same(folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    cut(folder, files_in(folder), parts, 10)
    assert all(path.stat().st_size <= 10 for path in parts.glob("*.bin"))
    assert not missing_parts(parts)
    for path in join(parts, tmp_path / "joined"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "joined")).read_bytes()
    assert len(files_in(tmp_path / "joined")) == 3


def test_a_lost_or_damaged_part_is_named_and_asked_for_again(folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    cut(folder, files_in(folder), parts, 100)
    damaged = parts / read_manifest(parts)[0].parts[0].name
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-1] + b"?")
    assert [part.name for part in missing_parts(parts)] == [damaged.name]
    with pytest.raises(CheckpointCorrupt, match=damaged.name):
        join(parts, tmp_path / "joined")
    cut(folder, files_in(folder), parts, 100)
    assert damaged.read_bytes() == good, "cutting again mends it"
    (folder / "exact.bin").unlink()
    cut(folder, files_in(folder), parts, 100)
    assert len(list(parts.glob("*.bin"))) == sum(len(file.parts) for file in read_manifest(parts))


def test_a_manifest_cannot_write_outside(tmp_path: Path) -> None:
    for path in ("../out", "/etc/out"):
        entry = {"path": path, "num_bytes": 0, "sha256": "", "parts": []}
        (tmp_path / MANIFEST).write_text(json.dumps({"files": [entry]}), encoding="utf-8")
        with pytest.raises(CheckpointCorrupt, match="outside"):
            join(tmp_path, tmp_path / "joined")
    with pytest.raises(CheckpointMissing):
        read_manifest(tmp_path / "none")


def test_trips_respect_their_size() -> None:
    machine_limits = carrier.Limits(trip_bytes=10, part_bytes=4)
    parts = [carrier.Part(str(i), size, "") for i, size in enumerate((4, 4, 4, 1, 4))]
    trips = carrier._trips(parts, machine_limits.trip_bytes)
    assert [[p.num_bytes for p in trip] for trip in trips] == [[4, 4], [4, 1, 4]]
    with pytest.raises(RequestError, match="does not fit"):
        carrier._trips([carrier.Part("x", 11, "")], 10)


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '{"steps": [{"name": "a"}]}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match="not a plan"):
        job.read_plan(tmp_path / "plan.json")


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.json")), ids=lambda path: path.stem)
def test_plans_are_commands_that_exist(path: Path) -> None:
    from model_runtime.training.__main__ import build_parser

    steps = job.read_plan(path)
    for step in steps:
        limit = ["--minutes", "1"] if step.is_training else []
        build_parser().parse_args([*step.arguments, *limit])
        assert step.estimate, "a share of the time says where it comes from"
    assert sum(step.minutes for step in steps) <= json.loads(path.read_text(encoding="utf-8"))["minutes"]


def test_a_job_outlives_its_command_stops_and_goes_on(tmp_path: Path) -> None:
    """With a stand-in for the training program: one step is killed half-way, the second start repeats only that."""
    root = tmp_path / "root"
    (root / "files").mkdir(parents=True)
    steps = [{"name": n, "arguments": ["data", n, "ROOT"], "minutes": 1} for n in ("one", "two")]
    (root / "files" / "plan.json").write_text(json.dumps({"steps": steps}), encoding="utf-8")
    package = root / "files" / "model_runtime" / "training"
    (package / "remote").mkdir(parents=True)
    for module in ("__init__.py", "training/__init__.py", "training/remote/__init__.py"):
        (root / "files" / "model_runtime" / module).write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(
        "import pathlib, sys, time\n"
        "log = pathlib.Path(sys.argv[3], 'calls')\n"
        "with log.open('a') as f: f.write(sys.argv[2] + '\\n')\n"
        "time.sleep(60 if sys.argv[2] == 'two' and log.read_text().count('two') == 1 else 0)\n",
        encoding="utf-8",
    )
    (package / "remote" / "__main__.py").write_text(
        f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
        "for name in [n for n in sys.modules if n.startswith('model_runtime')]: del sys.modules[name]\n"
        "from pathlib import Path\nfrom model_runtime.training.remote import job\n"
        "job.work(Path(sys.argv[sys.argv.index('--root') + 1]))\n",
        encoding="utf-8",
    )
    pid = job.start(root)
    assert os.getsid(pid) == pid, "a session of its own"
    assert job.start(root) == pid, "started once"
    _until(lambda: (root / "calls").is_file() and "two" in (root / "calls").read_text(encoding="utf-8"))
    assert job.read_status(root)["step"] == "two"
    os.killpg(pid, signal.SIGKILL)
    _until(lambda: job.read_status(root)["state"] == "stopped")
    job.start(root)
    status = job.wait(root, 20)
    assert status["state"] == "finished" and list(status["done"]) == ["one", "two"]
    assert (root / "calls").read_text(encoding="utf-8").split() == ["one", "two", "two"]


@pytest.mark.slow
def test_the_whole_recipe_on_this_machine(tiny_base: Path, sources: list[SourceFile], tmp_path: Path) -> None:
    """Pack, upload in several trips, launch, watch, download: a real stage on the tiny base, through the carrier."""
    data = tmp_path / "data"
    data.mkdir()
    shards = {split: write_shards(data, split, sources) for split in ("train", "held_out")}  # type: ignore[arg-type]
    (data / SHARDS_MANIFEST).write_text(json.dumps({"shards": shards}), encoding="utf-8")
    flags = "--steps 2 --rank 2 --first-layer 1 --greedy 0 --keep 0 --precision float32 --device cpu --held-out 2"
    step = {
        "name": "mask",
        "arguments": ["mask", "--base", "ROOT/files/base", "--data", "ROOT/files/data", "--run", "ROOT/runs/mask"],
        "minutes": 2,
    }
    step["arguments"] += flags.split()  # type: ignore[operator]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"minutes": 2, "steps": [step]}), encoding="utf-8")
    program = tmp_path / "carry.sh"
    program.write_text(CARRIER, encoding="utf-8")
    program.chmod(0o755)
    staging, results, root = tmp_path / "staging", tmp_path / "results", tmp_path / "machine"
    reach = ["--carrier", str(program), "--root", str(root), "--python", sys.executable]
    small = ["--trip-mib", "3", "--part-mib", "1"]
    pack = ["--staging", str(staging), "--base", str(tiny_base), "--data", str(data), "--plan", str(plan)]
    assert main(["pack", *pack]) == 0
    assert main(["upload", *reach, *small, "--staging", str(staging)]) == 0
    assert main(["launch", *reach]) == 0
    assert main(["watch", *reach, "--wait", "100"]) == 0
    assert job.read_status(root)["state"] == "finished", (root / "job.log").read_text(encoding="utf-8")
    assert main(["download", *reach, *small, "--results", str(results)]) == 0
    card = json.loads((results / "files" / "runs" / "mask" / "card.json").read_text(encoding="utf-8"))
    assert card["steps"] == 2
    fetched = results / "files" / "runs" / "mask" / "checkpoint.safetensors"
    assert fetched.read_bytes() == (root / "runs" / "mask" / "checkpoint.safetensors").read_bytes()


def _until(is_so: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
