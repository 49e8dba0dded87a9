"""The machine's side: take parts in, start a detached job, say how it stands, hand results out in parts.

Runs where nothing is installed but torch: what else is needed comes with the parts, in `vendor/`. Everything lives in
one folder on the machine:

    in/       parts as they arrive         files/  joined files: code, base, data, vendor, plan.json
    runs/     the stages' folders          status.json, job.log      out/  results cut into parts

A plan is a list of steps, each a `seedls train` command with a share of the time. The job runs them in order, skips
those that are done, and after a restart goes on with the one that was cut off, whose run resumes from its checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_runtime.errors import RequestError
from model_runtime.training.remote.parts import MANIFEST, cut, join, missing_parts, read_manifest

STATUS = "status.json"
LOG = "job.log"
# A process between this one and the job: the job then has no parent that must wait for it.
_LAUNCHER = """
import subprocess, sys
with open(sys.argv[1], "ab") as log:
    quiet = subprocess.DEVNULL
    job = subprocess.Popen(sys.argv[2:], stdin=quiet, stdout=log, stderr=log, start_new_session=True)
print(job.pid)
"""
RESULT_NAMES = ("checkpoint.safetensors", "card.json", "loss.svg", "progress.json", "calibration.json")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a plan."""

    name: str
    arguments: tuple[str, ...]
    """Of `seedls train`; ROOT stands for the job's folder."""
    minutes: float
    """Its share of the time; handed on as `--minutes` where it trains."""
    estimate: str = ""
    """Where the share comes from, for people."""

    @property
    def is_training(self) -> bool:
        """True for the stages, which can be told when to stop."""
        return self.arguments[0] in ("heal", "mask", "edit", "order", "onpolicy")


def read_plan(path: Path) -> list[Step]:
    """Steps of a plan file (JSON); RequestError naming what is wrong with it."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        steps = [
            Step(str(s["name"]), tuple(map(str, s["arguments"])), float(s["minutes"]), str(s.get("estimate", "")))
            for s in raw["steps"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"{path} is not a plan: {error!r}") from None
    if len({step.name for step in steps}) != len(steps) or not all(step.arguments for step in steps):
        raise RequestError(f"{path}: every step needs a name of its own and arguments")
    return steps


def receive(root: Path, arrived: Path) -> str:
    """Take the parts of a folder in; joins everything once the last one is there. Returns one line for people."""
    inbox = root / "in"
    inbox.mkdir(parents=True, exist_ok=True)
    for path in sorted(arrived.iterdir()):
        if path.name == MANIFEST or path.suffix == ".bin":
            shutil.copyfile(path, inbox / path.name)
    missing = missing_parts(inbox)
    if missing:
        return f"{len(missing)} parts missing, {sum(part.num_bytes for part in missing):,} bytes"
    joined = join(inbox, root / "files")
    return f"complete: {len(joined)} files"


def start(root: Path, python: Sequence[str] = (sys.executable,)) -> int:
    """Start the job in a session of its own, so that it outlives the command that started it; returns its pid."""
    status = read_status(root)
    if status.get("state") == "running" and _is_alive(int(status["pid"])):
        return int(status["pid"])
    command = [*python, "-m", "model_runtime.training.remote", "work", "--root", str(root)]
    launched = subprocess.run(
        [*python, "-c", _LAUNCHER, str(root / LOG), *command],
        cwd=root / "files",
        env=environment(root),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    pid = int(launched.stdout)
    _write_status(root, {**status, "state": "running", "pid": pid})
    return pid


def work(root: Path, python: Sequence[str] = (sys.executable,)) -> None:
    """Run the plan's steps that are not done yet, one after the other."""
    status = {**read_status(root), "state": "running", "pid": os.getpid()}
    done: dict[str, Any] = status.setdefault("done", {})
    for step in read_plan(root / "files" / "plan.json"):
        if step.name in done:
            continue
        _write_status(root, {**status, "step": step.name})
        begun = time.monotonic()
        words = [word.replace("ROOT", str(root)) for word in step.arguments]
        limit = ["--minutes", str(step.minutes)] if step.is_training else []
        result = subprocess.run(
            [*python, "-m", "model_runtime.training", *words, *limit],
            cwd=root / "files",
            env=environment(root),
            check=False,
        )
        done[step.name] = {"rc": result.returncode, "minutes": round((time.monotonic() - begun) / 60, 2)}
        if result.returncode != 0:
            _write_status(root, {**status, "state": "failed", "step": step.name})
            return
    _write_status(root, {**status, "state": "finished", "step": ""})


def read_status(root: Path) -> dict[str, Any]:
    """What the job last said; a job that died without a word is `stopped`."""
    path = root / STATUS
    status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"state": "none"}
    if status["state"] == "running" and not _is_alive(int(status["pid"])):
        status["state"] = "stopped"
    return status


def wait(root: Path, seconds: float) -> dict[str, Any]:
    """The status once the job ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while read_status(root)["state"] == "running" and time.monotonic() < deadline:
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
    return read_status(root)


def hand_out(root: Path, out: Path, have: Sequence[str], max_bytes: int, part_bytes: int) -> str:
    """Put results into `out`: the manifest, and parts the caller does not `have`, up to `max_bytes` together."""
    outbox = root / "out"
    results = [
        path
        for path in sorted((root / "runs").glob("*/*"))
        if path.name in RESULT_NAMES or path.suffix == ".safetensors"
    ]
    extra = [path for path in (root / LOG, root / STATUS) if path.is_file()]
    cut(root, [*results, *extra], outbox, part_bytes)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(outbox / MANIFEST, out / MANIFEST)
    left, skipped = max_bytes, 0
    for part in {part.name: part for file in read_manifest(outbox) for part in file.parts}.values():
        if part.name in have:
            continue
        if part.num_bytes > left:
            skipped += 1
            continue
        shutil.copyfile(outbox / part.name, out / part.name)
        left -= part.num_bytes
    return f"{skipped} parts left for another time" if skipped else "all parts handed out"


def environment(root: Path) -> dict[str, str]:
    """Variables of the job: code and vendored packages come from the joined files, and everything stays in `root`."""
    files = root / "files"
    path = os.pathsep.join([str(files), str(files / "vendor"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, "SEEDLS_HOME": str(root / "home"), "PYTHONUNBUFFERED": "1"}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that ended and that nobody has waited for still has a pid.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.is_file() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z")


def _write_status(root: Path, status: dict[str, Any]) -> None:
    partial = root / (STATUS + ".part")
    partial.write_text(json.dumps(status, indent=1) + "\n", encoding="utf-8")
    partial.replace(root / STATUS)
