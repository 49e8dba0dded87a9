"""The engine the server talks to, and the only import of `model_runtime` in this package (made when first needed).

Owns the translation between the runtime's errors and one clear line for the user. It does not know documents or the
protocol. All methods but `state` and `message` run on the scheduler's worker thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from model_runtime import (
    Cancelled,
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    Policy,
    RequestError,
    SamplingParams,
    ShouldStop,
    Snippet,
    StopRules,
    Timings,
)
from seedls.settings import Settings

if TYPE_CHECKING:
    from model_runtime import Runtime, RuntimeConfig

__all__ = [
    "Cancelled",
    "CompletionRequest",
    "CompletionResult",
    "EditRequest",
    "EditStep",
    "Engine",
    "EngineFactory",
    "EngineFailed",
    "EngineState",
    "LoadProgress",
    "Policy",
    "RequestError",
    "RuntimeEngine",
    "SamplingParams",
    "ShouldStop",
    "Snippet",
    "StopRules",
    "Timings",
    "home_folder",
    "model_stamp",
    "runtime_api",
]

EngineState = Literal["unloaded", "loading", "ready", "failed"]
LoadProgress = Callable[[str, float], None]
"""(message, fraction 0..1), called on the worker thread."""


class EngineFailed(Exception):
    """The engine cannot be used; the message is one line for the user."""


class Engine(Protocol):
    """What the server needs of a model."""

    @property
    def state(self) -> EngineState: ...

    @property
    def message(self) -> str:
        """One line for people about `state`."""
        ...

    def load(self, progress: LoadProgress) -> None:
        """Load and warm up; raises EngineFailed, after which `state` is "failed"."""
        ...

    def complete(self, request: CompletionRequest, should_stop: ShouldStop) -> CompletionResult: ...

    def candidates(self, request: CompletionRequest, count: int, should_stop: ShouldStop) -> list[CompletionResult]: ...

    def read_ahead(self, request: CompletionRequest, should_stop: ShouldStop) -> int: ...

    def edit(self, request: EditRequest, should_stop: ShouldStop) -> Iterator[EditStep]: ...

    def close(self) -> None: ...


EngineFactory = Callable[[Settings], Engine]


class RuntimeEngine:
    """The real one: `model_runtime.Runtime` in this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runtime: Runtime | None = None
        self.state: EngineState = "unloaded"
        self.message = "the model is not loaded yet"

    def load(self, progress: LoadProgress) -> None:
        """Load the configured checkpoint; raises EngineFailed with what to do about it."""
        self.state, self.message = "loading", f"loading model {self._settings.model!r}"
        try:
            from model_runtime import Runtime

            self._runtime = Runtime.load(_runtime_config(self._settings), progress)
            self._runtime.warm_up()
        except Exception as error:
            self.state, self.message = "failed", explain_failure(error, self._settings.model)
            raise EngineFailed(self.message) from error
        info = self._runtime.info
        self.state, self.message = "ready", f"{info.name} on {info.device} ({info.precision})"

    def complete(self, request: CompletionRequest, should_stop: ShouldStop) -> CompletionResult:
        """Fill the hole; raises Cancelled, RequestError or EngineFailed."""
        runtime = self._ready()
        try:
            return runtime.complete(request, should_stop)
        except (Cancelled, RequestError):
            raise
        except Exception as error:
            raise self._broken(error) from error

    def candidates(self, request: CompletionRequest, count: int, should_stop: ShouldStop) -> list[CompletionResult]:
        """Up to `count` different fillings, best first; raises as `complete` does."""
        runtime = self._ready()
        try:
            return runtime.candidates(request, count, should_stop)
        except (Cancelled, RequestError):
            raise
        except Exception as error:
            raise self._broken(error) from error

    def read_ahead(self, request: CompletionRequest, should_stop: ShouldStop) -> int:
        """Read a hole's prompt, so that `complete` there need not; the tokens that are read now. Raises as it does."""
        runtime = self._ready()
        try:
            return runtime.read_ahead(request, should_stop)
        except RequestError:
            raise
        except Exception as error:
            raise self._broken(error) from error

    def edit(self, request: EditRequest, should_stop: ShouldStop) -> Iterator[EditStep]:
        """Rewrite the range step by step; raises Cancelled, RequestError or EngineFailed."""
        runtime = self._ready()
        try:
            yield from runtime.edit(request, should_stop)
        except (Cancelled, RequestError):
            raise
        except Exception as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Free the model; it can be loaded again."""
        runtime, self._runtime = self._runtime, None
        self.state, self.message = "unloaded", "the model is not loaded"
        if runtime is not None:
            runtime.close()

    def _ready(self) -> Runtime:
        if self._runtime is None or self.state != "ready":
            raise EngineFailed(self.message)
        return self._runtime

    def _broken(self, error: Exception) -> EngineFailed:
        """An unexpected error may have left the cache in any state: the engine is unusable until it is loaded again."""
        self.state, self.message = "failed", explain_failure(error, self._settings.model)
        return EngineFailed(self.message)


def _runtime_config(settings: Settings) -> RuntimeConfig:
    from model_runtime import runtime_config_from_environment

    config = runtime_config_from_environment()
    overrides: dict[str, Any] = {"model": settings.model}
    if settings.device != "auto":
        overrides["device"] = settings.device
    if settings.threads:
        overrides["threads"] = settings.threads
    return replace(config, **overrides)


def explain_failure(error: Exception, model: str) -> str:
    """One line that says what happened and what to do."""
    from model_runtime import CheckpointCorrupt, CheckpointError, CheckpointMissing, OutOfMemory, RuntimeFailure

    detail = (str(error).splitlines() or [""])[0]
    if isinstance(error, CheckpointMissing):
        return f"model {model!r} is not installed: run `seedls model install {model}`"
    if isinstance(error, CheckpointCorrupt):
        return f"model {model!r} is damaged ({detail}): run `seedls model install {model}`"
    if isinstance(error, CheckpointError):
        return f"model {model!r} cannot be used: {detail}"
    if isinstance(error, OutOfMemory):
        return f"model {model!r} does not fit: {detail}"
    if isinstance(error, RuntimeFailure):
        return detail or type(error).__name__
    return f"model {model!r} failed: {type(error).__name__}: {detail}"


def home_folder() -> Path:
    """Where models and measurements are kept; asks the environment, loads nothing."""
    from model_runtime import default_home

    return default_home()


def model_stamp(model: str) -> int:
    """A number that changes when the model is installed or replaced; 0 while it is not there."""
    path = Path(model) if ("/" in model or Path(model).exists()) else home_folder() / "models" / model
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def runtime_api() -> ModuleType:
    """The runtime's public names, for the command line; importing it loads no torch."""
    import model_runtime

    return model_runtime
