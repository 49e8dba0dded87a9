"""The decoding loop on a tiny random model: `lossless` writes what `ar` writes, whatever was cached or drafted."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_runtime import (
    Cancelled,
    CompletionRequest,
    EditRequest,
    GenerateRequest,
    RequestError,
    Runtime,
    RuntimeConfig,
    SamplingParams,
    StopRules,
)
from tests.support.frequent_ends import end_often
from tests.support.tiny_model import write_tiny_checkpoint

WORDS = ["def ", "self", "return ", " = ", "x", "()", "\n", "    ", "print", "é", "🎉", "\t", "\r\n", "[", "]"]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("decode") / "tiny")
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=1024))
    yield loaded
    loaded.close()


def random_text(rng: random.Random, num_words: int) -> str:
    return "".join(rng.choice(WORDS) for _ in range(num_words))


def request(rng: random.Random, **params: object) -> CompletionRequest:
    prefix = random_text(rng, rng.randrange(1, 30))
    # Text that repeats itself gives the drafter something to be right, and wrong, about.
    return CompletionRequest(
        prefix * rng.randrange(1, 3),
        random_text(rng, rng.randrange(0, 10)),
        stop=StopRules(stop_at_suffix=False),
        params=SamplingParams(max_tokens=24, **params),  # type: ignore[arg-type]
    )


def with_params(asked: CompletionRequest, **changes: object) -> CompletionRequest:
    return replace(asked, params=replace(asked.params, **changes))  # type: ignore[arg-type]


def test_lossless_equals_ar_on_300_prompts(runtime: Runtime) -> None:
    rng = random.Random(7)
    num_saved = 0
    for _ in range(300):
        asked = request(rng)
        expected = runtime.complete(with_params(asked, policy="ar"))
        actual = runtime.complete(with_params(asked, policy="lossless", block_size=rng.choice([None, 1, 4, 16, 64])))
        assert actual.text == expected.text
        assert (actual.tokens, actual.finish_reason) == (expected.tokens, expected.finish_reason)
        assert expected.forwards == expected.tokens
        num_saved += expected.forwards - actual.forwards
    assert num_saved > 0, "no draft was ever right: the test would prove nothing"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_refused_end_is_not_written_and_lossless_still_equals_ar(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    refused = end_often(monkeypatch)
    rng = random.Random(11)
    num_ended = num_refused = 0
    for _ in range(150):
        asked = replace(request(rng, temperature=temperature, seed=3), language="python")
        refused.clear()
        expected = runtime.complete(with_params(asked, policy="ar"))
        num_refused += len(refused)
        assert expected.forwards == expected.tokens + len(refused)  # the row that ended chooses once more
        actual = runtime.complete(with_params(asked, policy="lossless", block_size=rng.choice([None, 1, 4, 16])))
        assert (actual.text, actual.tokens, actual.finish_reason) == (
            expected.text,
            expected.tokens,
            expected.finish_reason,
        )
        assert expected.finish_reason in ("end", "length")
        if expected.finish_reason == "end":
            num_ended += 1
            assert len(expected.text) % 2 == 0
    assert num_ended > 20
    assert num_refused > 20


def test_ends_are_refused_in_python_only(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = end_often(monkeypatch)
    rng = random.Random(11)
    for _ in range(60):
        asked = request(rng)
        runtime.complete(replace(asked, language=rng.choice([None, "rust"])))
        runtime.complete(replace(asked, language="python", stop=StopRules(max_lines=1)))
    assert not refused


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0]), st.integers(0, 5))
def test_sampling_is_the_same_under_a_seed(runtime: Runtime, case: int, temperature: float, seed: int) -> None:
    asked = request(random.Random(case), temperature=temperature, seed=seed)
    texts = {runtime.complete(with_params(asked, policy=policy)).text for policy in ("ar", "lossless", "ar")}
    assert len(texts) == 1


def test_another_seed_gives_another_text(runtime: Runtime) -> None:
    asked = request(random.Random(1), temperature=1.0)
    assert len({runtime.complete(with_params(asked, seed=seed)).text for seed in range(4)}) > 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=8))
def test_output_does_not_depend_on_what_the_cache_held(runtime: Runtime, history: list[tuple[int, int]]) -> None:
    for case, kind in history:
        asked = request(random.Random(case))
        if kind == 0:
            list(runtime.edit(EditRequest(asked.prefix or "x", "change it", params=SamplingParams(max_tokens=6))))
        elif kind == 1:
            stops = iter([False, False, True])
            with contextlib.suppress(Cancelled):
                runtime.complete(asked, lambda stops=stops: next(stops, True))  # type: ignore[misc]
        assert runtime.complete(asked).text == fresh_text(runtime, asked)


def fresh_text(runtime: Runtime, asked: CompletionRequest) -> str:
    kept, runtime.switches = runtime.switches, replace(runtime.switches, prefix_cache=False)
    try:
        result = runtime.complete(asked)
    finally:
        runtime.switches = kept
    assert result.timings.cached_tokens == 0
    return result.text


def test_a_kept_prompt_is_not_read_again(runtime: Runtime) -> None:
    asked = request(random.Random(3))
    runtime.complete(asked)
    again = runtime.complete(asked)
    assert again.timings.cached_tokens == again.timings.prompt_tokens - 1


@pytest.mark.parametrize("block_size", [1, 2, 4, 8, 16, 32, 64, 128])
@pytest.mark.parametrize("max_steps", [None, 1, 3])
def test_fast_runs_at_any_block_and_step_count(runtime: Runtime, block_size: int, max_steps: int | None) -> None:
    asked = with_params(request(random.Random(5)), policy="fast", block_size=block_size, max_steps=max_steps)
    result = runtime.complete(asked)
    assert 1 <= result.tokens <= 24
    assert result.forwards <= result.tokens
    assert runtime.complete(asked).text == result.text


def test_fewer_steps_are_fewer_forwards(runtime: Runtime) -> None:
    asked = with_params(request(random.Random(5)), policy="fast", block_size=8)
    steps = [runtime.complete(with_params(asked, max_steps=count)).forwards for count in (2, 8)]
    assert steps[0] < steps[1]


def test_cancelled_within_one_step(runtime: Runtime) -> None:
    num_asked = 0

    def stop_after_five() -> bool:
        nonlocal num_asked
        num_asked += 1
        return num_asked > 5

    result = runtime.complete(with_params(request(random.Random(2)), policy="ar"), stop_after_five)
    assert result.finish_reason == "cancelled"
    assert result.forwards <= 5


def test_cancelled_before_the_first_token_raises(runtime: Runtime) -> None:
    with pytest.raises(Cancelled):
        runtime.complete(request(random.Random(9)), lambda: True)


def test_the_deadline_ends_it_with_what_there_is(runtime: Runtime) -> None:
    result = runtime.complete(with_params(request(random.Random(2)), deadline_ms=0.0))
    assert (result.finish_reason, result.text) == ("deadline", "")


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"policy": "magic"}, "magic"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"block_size": 129}, "block_size is 129"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"accept_threshold": 0.0}, "accept_threshold is 0.0"),
        ({"edit_threshold": 1.5}, "edit_threshold is 1.5"),
        ({"min_confidence": 1.0}, "min_confidence is 1.0"),
    ],
)
def test_bad_parameters_are_named(runtime: Runtime, params: dict[str, object], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        runtime.complete(with_params(request(random.Random(2)), **params))


def test_a_prompt_longer_than_the_cache_is_refused_or_cut(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match="do not fit"):
        runtime.generate(GenerateRequest("é" * 2000))
    assert runtime.complete(CompletionRequest("x", params=SamplingParams(max_tokens=2))).tokens >= 1


def test_empty_prompt_and_empty_file(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match="prompt is empty"):
        runtime.generate(GenerateRequest(""))
    assert runtime.complete(CompletionRequest("", "", params=SamplingParams(max_tokens=4))).tokens >= 1
