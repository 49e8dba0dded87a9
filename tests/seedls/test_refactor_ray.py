"""`seedls refactor --ray`: many files at once through workers, with a scripted cluster here and a real local one."""

from __future__ import annotations

import builtins
import json
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import model_runtime
from seedls.cli import main
from tests.seedls.scripted_runtime import Script, ScriptedRuntime, script

__all__ = ["script"]

NUM_FILES = 9
TEXT = "def f{}():\r\n\treturn 'old 🙂'\r\n"


class ClusterError(Exception):
    """As `ray.exceptions.RayError`."""


class ScriptedCluster:
    """The part of Ray that is used: every actor a thread."""

    def __init__(self, num_gpus: int = 0) -> None:
        self.exceptions = SimpleNamespace(RayError=ClusterError)
        self.num_gpus = num_gpus
        self.addresses: list[str | None] = []
        self.actors: list[ThreadPoolExecutor] = []
        self.options: list[dict[str, int]] = []
        self.num_killed = 0
        self.has_left = False

    def init(self, address: str | None = None, log_to_driver: bool = True) -> None:
        if address == "nowhere:1":
            raise ConnectionError("no cluster there\nsecond line")
        self.addresses.append(address)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0, **({"GPU": float(self.num_gpus)} if self.num_gpus else {})}

    def remote(self, kind: Any) -> Any:
        def options(**resources: int) -> Any:
            self.options.append(resources)
            return SimpleNamespace(remote=lambda *arguments: self._actor(kind, *arguments))

        return SimpleNamespace(options=options)

    def _actor(self, kind: Any, *arguments: Any) -> Any:
        thread = ThreadPoolExecutor(1)
        self.actors.append(thread)
        made = thread.submit(kind, *arguments)

        def rewrite(*given: Any) -> Any:
            future: Future[Any] = thread.submit(lambda: made.result().rewrite(*given))
            return SimpleNamespace(future=lambda: future)

        return SimpleNamespace(rewrite=SimpleNamespace(remote=rewrite))

    def kill(self, actor: Any) -> None:
        self.num_killed += 1

    def shutdown(self) -> None:
        self.has_left = True
        for thread in self.actors:
            thread.shutdown(cancel_futures=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    for number in range(NUM_FILES):
        path = tmp_path / "pkg" / f"m{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(TEXT.format(number).encode())
    return tmp_path


def refactor(*flags: str) -> int:
    return main(["refactor", "pkg", "--instruction", "new for old", "--write", "--json", *flags])


def is_done(project: Path) -> bool:
    return all(
        (project / "pkg" / f"m{number}.py").read_bytes() == TEXT.format(number).replace("old", "new").encode()
        for number in range(NUM_FILES)
    )


@pytest.mark.parametrize(("num_gpus", "num_workers"), [(0, 3), (2, 2)])
def test_files_are_spread_over_the_workers(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], num_gpus: int, num_workers: int
) -> None:
    cluster = ScriptedCluster(num_gpus)
    monkeypatch.setitem(sys.modules, "ray", cluster)
    busy, most, lock = 0, 0, threading.Lock()

    def rewrite(text: str) -> str:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.05)
        with lock:
            busy -= 1
        return text.replace("old", "new")

    scripted = Script(rewrite=rewrite).install(monkeypatch)
    assert refactor("--ray", "head:6379", "--jobs", "3") == 0
    assert is_done(project)
    assert json.loads(capsys.readouterr().out)["counts"]["changed"] == NUM_FILES
    assert cluster.addresses == ["head:6379"] and len(cluster.actors) == num_workers == len(scripted.configs)
    assert cluster.options == [{"num_gpus": 1} if num_gpus else {"num_cpus": 1}] * num_workers
    assert most > 1, "the workers worked at the same time"
    assert cluster.num_killed == num_workers and cluster.has_left


def test_a_worker_that_dies_ends_the_run_and_resume_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ScriptedCluster())
    scripted = Script(rewrite=lambda text: text.replace("old", "new")).install(monkeypatch)
    scripted.error_at[4] = ClusterError("the actor died")
    assert refactor("--ray", "local", "--jobs", "2") == 1
    assert "a worker failed: ClusterError: the actor died" in capsys.readouterr().err
    assert not is_done(project)
    assert refactor("--ray", "local", "--jobs", "2", "--resume") == 0
    assert is_done(project)


def test_a_cluster_that_is_not_there_is_one_line(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: Script,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ScriptedCluster())
    assert refactor("--ray", "nowhere:1") == 1
    error = capsys.readouterr().err
    assert "cannot reach Ray at 'nowhere:1': no cluster there" in error and "second line" not in error
    assert script.requests == []


def test_without_ray_it_says_what_to_install(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: Script,
) -> None:
    real_import = builtins.__import__

    def without_ray(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real_import(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    assert refactor("--ray", "local") == 1
    assert 'pip install "ray"' in capsys.readouterr().err
    assert script.requests == [] and not is_done(project)


class OnWorker(ScriptedRuntime):
    """Loaded in the worker's own process."""

    @classmethod
    def load(cls, config: Any, progress: Any = None) -> OnWorker:
        return cls(Script(rewrite=lambda text: text.replace("old", "new")))


def _load_on_worker(config: Any) -> OnWorker:
    model_runtime.__dict__["Runtime"] = OnWorker
    return OnWorker.load(config)


@pytest.mark.slow
def test_a_local_cluster(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr("seedls.commands.refactor.load_runtime", _load_on_worker)
    assert refactor("--ray", "local", "--jobs", "2") == 0
    assert is_done(project)
    assert json.loads(capsys.readouterr().out)["counts"]["changed"] == NUM_FILES
