from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import model_runtime
from model_runtime import CompletionRequest, EditRequest, never_stop
from seedls.engine import Cancelled, EngineFailed, RequestError, RuntimeEngine, explain_failure
from seedls.settings import Settings

INFO = SimpleNamespace(name="coder-0.5b", device="cpu", precision="int8")


class ScriptedRuntime:
    """Stands where model_runtime.Runtime stands: raises or returns what the test says."""

    info = INFO
    configs: list[Any]
    problem: Exception | None = None
    answer: Exception = ValueError("line one\nline two")

    @classmethod
    def load(cls, config: Any, progress: Any = None) -> ScriptedRuntime:
        cls.configs.append(config)
        if cls.problem is not None:
            raise cls.problem
        progress("reading", 0.5)
        return cls()

    def warm_up(self) -> None: ...

    def complete(self, request: Any, should_stop: Any) -> Any:
        raise self.answer

    def edit(self, request: Any, should_stop: Any) -> Iterator[Any]:
        yield "first step"
        raise self.answer

    def close(self) -> None:
        self.configs.append("closed")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedRuntime]:
    fresh = type("Fresh", (ScriptedRuntime,), {"configs": []})
    monkeypatch.setitem(vars(model_runtime), "Runtime", fresh)
    return fresh


def _loaded(settings: Settings | None = None) -> RuntimeEngine:
    engine = RuntimeEngine(settings or Settings())
    engine.load(lambda message, fraction: None)
    return engine


def test_settings_reach_the_runtime(runtime: type[ScriptedRuntime]) -> None:
    engine = _loaded(Settings(model="other", device="cuda:1", threads=3))
    config = runtime.configs[0]
    assert (config.model, config.device, config.threads) == ("other", "cuda:1", 3)
    assert (engine.state, engine.message) == ("ready", "coder-0.5b on cpu (int8)")
    engine.close()
    assert engine.state == "unloaded"
    assert runtime.configs[-1] == "closed"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            model_runtime.CheckpointMissing("nothing there"),
            "model 'coder-0.5b' is not installed: run `seedls model install coder-0.5b`",
        ),
        (
            model_runtime.CheckpointCorrupt("wrong digest\nmore"),
            "model 'coder-0.5b' is damaged (wrong digest): run `seedls model install coder-0.5b`",
        ),
        (model_runtime.CheckpointUnsafe("a pickle"), "model 'coder-0.5b' cannot be used: a pickle"),
        (model_runtime.OutOfMemory("needs 2 GB"), "model 'coder-0.5b' does not fit: needs 2 GB"),
        (model_runtime.RuntimeFailure("odd"), "odd"),
        (RuntimeError("CUDA error"), "model 'coder-0.5b' failed: RuntimeError: CUDA error"),
        (RuntimeError(), "model 'coder-0.5b' failed: RuntimeError: "),
    ],
)
def test_every_failure_to_load_is_one_line_that_helps(
    runtime: type[ScriptedRuntime], problem: Exception, said: str
) -> None:
    runtime.problem = problem
    engine = RuntimeEngine(Settings())
    with pytest.raises(EngineFailed) as failure:
        engine.load(lambda message, fraction: None)
    assert str(failure.value) == said
    assert (engine.state, engine.message) == ("failed", said)
    assert explain_failure(problem, "coder-0.5b") == said


def test_an_unexpected_error_makes_the_engine_unusable(runtime: type[ScriptedRuntime]) -> None:
    engine = _loaded()
    with pytest.raises(EngineFailed, match=r"ValueError: line one$"):
        engine.complete(CompletionRequest(""), never_stop)
    assert engine.state == "failed"
    with pytest.raises(EngineFailed):
        engine.complete(CompletionRequest(""), never_stop)
    with pytest.raises(EngineFailed):
        list(_loaded().edit(EditRequest("", "x"), never_stop))


@pytest.mark.parametrize("answer", [Cancelled("stop"), RequestError("bad range")])
def test_refusals_and_cancelling_leave_it_usable(runtime: type[ScriptedRuntime], answer: Exception) -> None:
    runtime.answer = answer
    engine = _loaded()
    with pytest.raises(type(answer)):
        engine.complete(CompletionRequest(""), never_stop)
    with pytest.raises(type(answer)):
        list(engine.edit(EditRequest("", "x"), never_stop))
    assert engine.state == "ready"


def test_before_loading_it_says_so() -> None:
    engine = RuntimeEngine(Settings())
    assert engine.state == "unloaded"
    with pytest.raises(EngineFailed, match="not loaded"):
        engine.complete(CompletionRequest(""), never_stop)
    engine.close()
