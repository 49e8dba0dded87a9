"""Run model-written code where it cannot hurt: separate processes, limits, no network, a folder that disappears.

`run_program` is the only entry. The launcher (`sandbox_launcher.py`) takes the rights away; this file chooses what
this machine can enforce, watches the whole process tree from outside, and kills it when it goes past a limit.
`isolation()` says in words what is enforced here. It guards against accidents of generated code, not against an
attacker with a kernel exploit.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model_runtime.evaluation.errors import EvaluationError

Outcome = Literal["passed", "failed", "timeout", "memory", "output", "processes"]

LAUNCHER = Path(__file__).with_name("sandbox_launcher.py")
SETUP_FAILED = 125
WATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use."""

    cpu_seconds: int = 10
    wall_seconds: float = 15.0
    memory_bytes: int = 1 << 30
    """For each process, and for the whole tree together."""
    file_bytes: int = 16 << 20
    processes: int = 64
    """Processes and threads."""
    output_bytes: int = 64 << 10


@dataclass(frozen=True, slots=True)
class Execution:
    """How a program ended."""

    outcome: Outcome
    returncode: int
    output: str
    """Standard output and standard error together, cut at the limit."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the sandbox can enforce on this machine."""

    need: tuple[str, ...]
    description: str
    has_network_lock: bool


@dataclass(slots=True)
class _Watch:
    """A running program and what was seen of it."""

    process: subprocess.Popen[bytes]
    limits: Limits
    started: float = field(default_factory=time.monotonic)
    output: bytearray = field(default_factory=bytearray)
    verdict: Outcome | None = None


_CANDIDATES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("namespaces", "read_only", "user"), "no network and own process tree (namespaces), read-only files, other user"),
    (("namespaces", "user"), "no network and own process tree (namespaces), other user"),
    (("namespaces", "read_only"), "no network and own process tree (namespaces), read-only files"),
    (("namespaces",), "no network and own process tree (namespaces)"),
    (("sockets", "user"), "no network (socket filter), other user"),
    (("sockets",), "no network (socket filter)"),
)


@functools.cache
def isolation() -> Isolation:
    """Find out, once, the strictest isolation that works here."""
    if os.name != "posix":
        raise EvaluationError(f"code of a model can be run on POSIX systems only, not on {sys.platform}")
    for need, description in _CANDIDATES if sys.platform == "linux" else ():
        if "user" in need and os.getuid() != 0:
            continue
        if _is_usable(need):
            return Isolation(need, description, has_network_lock=True)
    return Isolation((), "resource limits only: the NETWORK IS NOT BLOCKED on this system", has_network_lock=False)


def _is_usable(need: tuple[str, ...]) -> bool:
    limits = Limits(wall_seconds=10)
    execution = _run({}, [sys.executable, "-I", "-S", "-c", "open('probe', 'w').write('1')"], limits, need, {})
    return execution.returncode == 0


def run_program(
    files: Mapping[str, str],
    command: Sequence[str],
    limits: Limits | None = None,
    environment: Mapping[str, str] | None = None,
) -> Execution:
    """Write `files` (relative name -> text) into a fresh folder, run `command` there, delete the folder.

    Never raises because of what the program does; EvaluationError when the command itself cannot be started.
    The environment is minimal; `environment` adds to it.
    """
    execution = _run(files, command, limits or Limits(), isolation().need, environment or {})
    if execution.returncode == SETUP_FAILED and execution.output.startswith("sandbox: "):
        raise EvaluationError(f"{execution.output.strip()} (running {command[0]})")
    return execution


def _run(
    files: Mapping[str, str],
    command: Sequence[str],
    limits: Limits,
    need: tuple[str, ...],
    environment: Mapping[str, str],
) -> Execution:
    # realpath: mounts are made on the real folder (macOS and some Linux systems link /tmp).
    workdir = os.path.realpath(tempfile.mkdtemp(prefix="seedls-sandbox-"))
    try:
        for name, text in files.items():
            Path(workdir, name).write_bytes(text.encode("utf-8", "surrogatepass"))
        if "user" in need:
            os.chown(workdir, 65534, 65534)
        options = {
            "cpu_seconds": limits.cpu_seconds,
            "memory_bytes": limits.memory_bytes,
            "file_bytes": limits.file_bytes,
            "processes": _process_limit(limits.processes, need),
            "workdir": workdir,
            "need": list(need),
        }
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(options), *command]
        return _watch(launch, limits, _environment(workdir, environment))
    finally:
        shutil.rmtree(workdir, ignore_errors=True)


def _process_limit(processes: int, need: tuple[str, ...]) -> int:
    """RLIMIT_NPROC counts all processes of a user: exact only in a user of its own; else the watcher counts."""
    return processes if "user" in need else 0


def _environment(workdir: str, extra: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": workdir,
        "TMPDIR": workdir,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        **extra,
    }


def _watch(launch: list[str], limits: Limits, environment: dict[str, str]) -> Execution:
    process = subprocess.Popen(
        launch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    watch = _Watch(process, limits)
    try:
        _follow(watch)
    finally:
        _kill_tree(process)
        assert process.stdout is not None
        process.stdout.close()
    seconds = time.monotonic() - watch.started
    code = process.returncode
    outcome = watch.verdict or _outcome_of(code, watch, seconds)
    return Execution(outcome, code, watch.output[: limits.output_bytes].decode("utf-8", "replace"), seconds)


def _outcome_of(code: int, watch: _Watch, seconds: float) -> Outcome:
    if code == 0:
        return "passed"
    if code in (128 + signal.SIGXCPU, -signal.SIGXCPU) or (
        code == 128 + signal.SIGKILL and seconds >= watch.limits.cpu_seconds
    ):
        return "timeout"
    if b"MemoryError" in watch.output or b"heap out of memory" in watch.output:
        return "memory"
    return "failed"


def _follow(watch: _Watch) -> None:
    """Collect output until the program ends or goes past a limit."""
    stdout = watch.process.stdout
    assert stdout is not None
    os.set_blocking(stdout.fileno(), False)
    deadline = watch.started + watch.limits.wall_seconds
    next_look = watch.started + WATCH_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while watch.verdict is None:
            now = time.monotonic()
            if now >= deadline:
                watch.verdict = "timeout"
                return
            if now >= next_look:
                watch.verdict = _excess(watch)
                next_look = time.monotonic() + WATCH_SECONDS
            is_open = True
            if selector.select(timeout=min(WATCH_SECONDS / 4, deadline - now)):
                is_open = _read_available(watch, stdout.fileno())
            if watch.process.poll() is not None:
                _read_available(watch, stdout.fileno())
                return
            if not is_open:
                # The program closed its output but runs on: nothing more to select on.
                selector.unregister(stdout)
                _follow_silently(watch, deadline)
                return


def _follow_silently(watch: _Watch, deadline: float) -> None:
    while watch.process.poll() is None and watch.verdict is None:
        if time.monotonic() >= deadline:
            watch.verdict = "timeout"
            return
        watch.verdict = _excess(watch)
        time.sleep(WATCH_SECONDS / 4)


def _read_available(watch: _Watch, descriptor: int) -> bool:
    """Read what is there; False at the end of the stream. Past the limit the verdict is "output"."""
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(descriptor, 65536):
            watch.output += chunk
            if len(watch.output) > watch.limits.output_bytes:
                watch.verdict = "output"
                return True
        return False
    return True


def _excess(watch: _Watch) -> Outcome | None:
    """Count processes and memory of the whole tree from outside (Linux; elsewhere only the resource limits hold)."""
    if sys.platform != "linux":
        return None
    count, resident = _tree_usage(watch.process.pid)
    # The launcher and the first process of the namespace are ours.
    if count - 2 > watch.limits.processes:
        return "processes"
    if resident > watch.limits.memory_bytes + (64 << 20):
        return "memory"
    return None


@dataclass(frozen=True, slots=True)
class _ProcessRow:
    parent: int
    resident_bytes: int
    is_zombie: bool


def _process_table() -> dict[int, _ProcessRow]:
    """Every process of the machine, from /proc (Linux)."""
    table: dict[int, _ProcessRow] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # After the last ")": the command name may hold anything.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                table[int(entry.name)] = _ProcessRow(int(fields[1]), int(fields[21]) * page, fields[0] == "Z")
    return table


def _tree_usage(root: int) -> tuple[int, int]:
    """Number of processes and resident bytes of `root` and all its descendants."""
    table = _process_table()
    tree = _descendants(root, table)
    return len(tree), sum(table[pid].resident_bytes for pid in tree)


def _descendants(root: int, table: Mapping[int, _ProcessRow]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, row in table.items():
        children.setdefault(row.parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        if pid in table and pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill the group; where there are namespaces, the end of the launcher ends everything inside."""
    if sys.platform == "linux":
        _kill_descendants(process.pid)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _kill_descendants(root: int) -> None:
    """Also those that left the group with setsid; again until none is left, because a fork may race with the kill."""
    for _ in range(20):
        table = _process_table()
        tree = [pid for pid in _descendants(root, table) if pid != root and not table[pid].is_zombie]
        if not tree:
            return
        for pid in tree:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
