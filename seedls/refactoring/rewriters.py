"""Who takes files through the model: this process, one after the other, or the actors of a Ray cluster at once.

Owns how a file's rewrite is started and waited for. It writes nothing and knows no journal.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from seedls.commands.failure import CommandFailed
from seedls.commands.source_file import SourceFile
from seedls.engine import runtime_api
from seedls.refactoring.rewriting import EditingRuntime, EditTask, OnUnit, Rewritten, rewrite_file

INSTALL_RAY = 'Ray is not installed: pip install "ray" (on every machine of the cluster, beside seedls)'


class Rewriter(Protocol):
    """Starts rewrites."""

    @property
    def num_parallel(self) -> int:
        """How many rewrites are worth starting before the first is waited for."""
        ...

    def submit(
        self, task: EditTask, source: SourceFile, path: str, language: str, on_unit: OnUnit
    ) -> Future[Rewritten]:
        """The file's new text, soon; the future raises what the model raised."""
        ...


class LocalRewriter:
    """The model of this process; a submitted file is finished when `submit` returns."""

    num_parallel = 1

    def __init__(self, runtime: EditingRuntime) -> None:
        self._runtime = runtime

    def submit(
        self, task: EditTask, source: SourceFile, path: str, language: str, on_unit: OnUnit
    ) -> Future[Rewritten]:
        """Done at once; raises what the model raises."""
        future: Future[Rewritten] = Future()
        future.set_result(rewrite_file(self._runtime, task, source, path, language, on_unit))
        return future


class _Worker:
    """What an actor runs: one loaded model."""

    def __init__(self, load: Callable[[], EditingRuntime]) -> None:
        self._runtime = load()

    def rewrite(self, task: EditTask, source: SourceFile, path: str, language: str) -> Rewritten:
        return rewrite_file(self._runtime, task, source, path, language, lambda unit, fraction: None)


class RayRewriter:
    """One actor a GPU of the cluster; on a cluster without GPUs as many as were asked for."""

    def __init__(self, address: str, num_actors: int, load: Callable[[], EditingRuntime]) -> None:
        """`address` as in `ray.init`, or `local` for one on this machine. Raises CommandFailed with one line."""
        self._ray = _import_ray()
        try:
            self._ray.init(**({} if address == "local" else {"address": address}), log_to_driver=False)
        except Exception as error:  # the library raises many kinds, among them bare ones
            raise CommandFailed(f"cannot reach Ray at {address!r}: {_first_line(error)}") from None
        self.failures: tuple[type[Exception], ...] = (self._ray.exceptions.RayError,)
        """What a worker's failure is raised as."""
        num_gpus = int(self._ray.cluster_resources().get("GPU", 0))
        self.num_parallel = num_gpus or num_actors
        actor = self._ray.remote(_Worker)
        options = {"num_gpus": 1} if num_gpus else {"num_cpus": 1}
        self._actors = [actor.options(**options).remote(load) for _ in range(self.num_parallel)]
        self._next = 0

    def submit(
        self, task: EditTask, source: SourceFile, path: str, language: str, on_unit: OnUnit
    ) -> Future[Rewritten]:
        """Actors take turns; each works on its files one after the other."""
        actor = self._actors[self._next % len(self._actors)]
        self._next += 1
        future: Future[Rewritten] = actor.rewrite.remote(task, source, path, language).future()
        return future

    def close(self) -> None:
        """End the actors and leave the cluster; files that were not finished are asked for again on resume."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._ray.shutdown()


def worker_failure(error: Exception) -> str:
    """One line about a rewrite that raised on another machine."""
    return f"a worker failed: {type(error).__name__}: {_first_line(error)}; run the same command with --resume"


def load_runtime(config: Any) -> EditingRuntime:
    """The runtime of a `RuntimeConfig`; called on the worker."""
    runtime: EditingRuntime = runtime_api().Runtime.load(config)
    return runtime


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise CommandFailed(INSTALL_RAY) from None
    return ray


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
