"""The public calls on every family, from a folder as it is published: complete, generate, edit."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.api import CompletionRequest, EditRequest, GenerateRequest, SamplingParams, StopRules
from model_runtime.config import RuntimeConfig
from model_runtime.errors import Cancelled, CheckpointMismatch, OutOfMemory, RequestError
from model_runtime.runtime import Runtime
from tests.families.published import CHECKPOINTS, MASK_ID, write_published

DIFFUSION = sorted(name for name in CHECKPOINTS if name not in ("llama", "qwen3"))
TEXT = "def f(x):\r\n\treturn x  # 🙂\r\n\r\nclass A:\n    pass"


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    parent = tmp_path_factory.mktemp("published")
    return {name: load(write_published(name, parent)) for name in CHECKPOINTS}


def load(folder: Path, **changes: object) -> Runtime:
    config = {"device": "cpu", "precision": "float32", "cache_tokens": 512} | changes
    return Runtime.load(RuntimeConfig(model=str(folder), **config))  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["ar", "lossless", "fast"])
@pytest.mark.parametrize("name", DIFFUSION)
def test_every_call_answers(name: str, policy: str, runtimes: dict[str, Runtime]) -> None:
    runtime = runtimes[name]
    params = SamplingParams(policy=policy, max_tokens=12)  # type: ignore[arg-type]
    request = CompletionRequest(TEXT[:20], TEXT[20:], stop=StopRules(stop_at_suffix=False), params=params)
    completed = runtime.complete(request)
    assert completed.text == runtime.complete(request).text, "greedy answers do not depend on the cache"
    assert completed.tokens <= 12 and completed.finish_reason in ("end", "length", "stop_rule")
    generated = runtime.generate(GenerateRequest("def add(a, b):", params=params))
    assert 0 < generated.tokens <= 12 and generated.forwards > 0
    answered = runtime.generate(GenerateRequest("write a sort", chat=True, params=params))
    assert answered.tokens <= 12
    steps = list(runtime.edit(EditRequest(TEXT, "rename x", start=0, end=24, params=params)))
    assert [step.is_final for step in steps] == [False] * (len(steps) - 1) + [True]
    assert all(step.text.endswith(TEXT[24:]) for step in steps)


@pytest.mark.parametrize("name", DIFFUSION)
def test_the_mask_and_unused_rows_are_never_written(name: str, runtimes: dict[str, Runtime]) -> None:
    runtime = runtimes[name]
    model = runtime._family_model  # type: ignore[attr-defined]
    ids = {MASK_ID, *range(model.tokenizer.vocab_size, 300)}
    assert ids <= set(model.forbidden.tolist())
    assert model.config.family.name == CHECKPOINTS[name]


@pytest.mark.parametrize("name", ["llada", "sdar", "wedlm-qwen3", "fast-dllm-v2", "dreamon"])
def test_fast_takes_fewer_forwards(name: str, runtimes: dict[str, Runtime]) -> None:
    def forwards(policy: str) -> int:
        params = SamplingParams(policy=policy, max_tokens=32, max_steps=2 if policy == "fast" else None)  # type: ignore[arg-type]
        return runtimes[name].generate(GenerateRequest("class B:\n", params=params)).forwards

    assert forwards("fast") < forwards("lossless")


@pytest.mark.parametrize("name", ["dream", "sdar", "wedlm-qwen2", "llada2"])
def test_stopping_and_deadlines(name: str, runtimes: dict[str, Runtime]) -> None:
    runtime = runtimes[name]
    calls = 0

    def stop_at_the_third_look() -> bool:
        nonlocal calls
        calls += 1
        return calls >= 4

    request = GenerateRequest("import os\nimport sys\n", params=SamplingParams(max_tokens=64, policy="ar"))
    stopped = runtime.generate(request, stop_at_the_third_look)
    assert stopped.finish_reason == "cancelled" and stopped.forwards <= 4
    late = runtime.generate(GenerateRequest("import os\n", params=SamplingParams(max_tokens=64, deadline_ms=0.0)))
    assert late.finish_reason == "deadline" and late.tokens == 0
    if name != "dream":
        with pytest.raises(Cancelled):
            runtime.generate(request, lambda: True)
    whole = runtime.generate(request)
    assert whole.text.startswith(stopped.text), "what was final stays so after a cancellation"


@pytest.mark.parametrize("name", ["sdar", "llada2", "fast-dllm-v2", "wedlm-qwen3", "stable-diffcoder"])
def test_the_exact_cache_changes_no_answer(name: str, tmp_path: Path, runtimes: dict[str, Runtime]) -> None:
    text = "def f(a, b):\n    return a + b  # 🙂\n"
    prompts = [text, text + "    x", "class B:\n", text[:-3]]
    params = SamplingParams(max_tokens=12, block_size=8)
    warm = [runtimes[name].generate(GenerateRequest(text, params=params)) for text in prompts]
    assert warm[1].timings.cached_tokens > 0
    for text, answer in zip(prompts, warm, strict=True):
        cold = runtimes[name]
        cold._family_model.cache.truncate(0)  # type: ignore[attr-defined]
        assert cold.generate(GenerateRequest(text, params=params)).text == answer.text


PREFIXES = ("import os\n", "import os\nimport sys\n\n", "class A:\r\n\tx = '🙂'\r\n", "class A:\r\n\ty")


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(PREFIXES), st.integers(0, 6), st.sampled_from([4, 8])), min_size=1, max_size=5)
)
@pytest.mark.parametrize("name", ["sdar", "fast-dllm-v2", "wedlm-qwen2", "a2d-llama"])
def test_answers_do_not_depend_on_what_was_asked_or_cancelled_before(
    name: str, runtimes: dict[str, Runtime], history: list[tuple[str, int, int]]
) -> None:
    runtime = runtimes[name]
    params = SamplingParams(max_tokens=8, block_size=8)
    last = GenerateRequest(PREFIXES[1], params=params)
    runtime._family_model.cache.truncate(0)  # type: ignore[attr-defined]
    expected = runtime.generate(last).text
    for text, looks, size in history:
        remaining = iter(range(looks))
        request = GenerateRequest(text, params=SamplingParams(max_tokens=12, block_size=size))
        with contextlib.suppress(Cancelled):
            runtime.generate(request, lambda left=remaining: next(left, None) is None)  # type: ignore[misc]
    assert runtime.generate(last).text == expected


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_autoregressive_bases_run_in_the_ordinary_loop(name: str, runtimes: dict[str, Runtime]) -> None:
    texts = {
        policy: runtimes[name]
        .generate(GenerateRequest("def f(x):\n", params=SamplingParams(policy=policy, max_tokens=24)))
        .text  # type: ignore[arg-type]
        for policy in ("ar", "lossless")
    }
    assert texts["ar"] == texts["lossless"] != ""


@pytest.mark.parametrize("precision", ["int8", "int4", "bfloat16"])
@pytest.mark.parametrize("name", ["dream", "llada2"])
def test_packed_weights_answer(name: str, precision: str, tmp_path: Path) -> None:
    runtime = load(write_published(name, tmp_path), precision=precision)
    assert runtime.info.precision == precision
    assert runtime.generate(GenerateRequest("import os\n", params=SamplingParams(max_tokens=8))).tokens > 0


def test_what_does_not_fit_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_published("dream", tmp_path)
    monkeypatch.setattr("model_runtime.family_loading.available_bytes", lambda device: 10_000_000)
    with pytest.raises(OutOfMemory, match=r"needs 0\.\d GB .* 0\.0 GB are free: the least is"):
        load(folder)


def test_refused_requests_name_the_value(runtimes: dict[str, Runtime]) -> None:
    runtime = runtimes["dream"]
    for name in ("dream", "sdar", "wedlm-qwen3"):
        with pytest.raises(RequestError, match="do not fit the cache of 512"):
            runtimes[name].generate(GenerateRequest("x = 1\n" * 200))
    full = runtime.generate(GenerateRequest("x" * 480, params=SamplingParams(max_tokens=5000)))
    assert full.finish_reason in ("length", "end") and full.tokens <= 32
    with pytest.raises(RequestError, match="the prompt is empty"):
        runtime.generate(GenerateRequest(""))
    with pytest.raises(CheckpointMismatch, match="no chat layout"):
        # `llama` has no chat layout of its own, and its vocabulary no infilling tokens.
        from model_runtime.families.table import family_by_name
        from model_runtime.family_prompts import family_chat

        family = family_by_name("llama")
        assert family is not None
        family_chat(runtime._family_model.tokenizer, family, "s", "u")  # type: ignore[attr-defined]


def test_two_possible_families_are_an_error_that_names_both(tmp_path: Path) -> None:
    folder = write_published("a2d-qwen2", tmp_path)
    plain = folder.rename(tmp_path / "model")
    with pytest.raises(CheckpointMismatch, match=r"a2d-mdlm and a2d-bd3lm.*--family"):
        load(plain)
    raw = json.loads((plain / "config.json").read_text()) | {"seedls_family": "a2d-bd3lm"}
    (plain / "config.json").write_text(json.dumps(raw))
    assert load(plain).info.architecture == "a2d-bd3lm"
