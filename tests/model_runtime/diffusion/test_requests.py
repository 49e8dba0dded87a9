"""What a request may rely on: drafts that never change the text, deadlines, candidates, and requests in between."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

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
from model_runtime.cache.prefix import BLOCK
from model_runtime.diffusion.generate import decode
from model_runtime.diffusion.infill import Infill
from model_runtime.diffusion.schedule import LatencyCurve
from tests.support.tiny_model import write_tiny_checkpoint

FREE = StopRules(stop_at_suffix=False)


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("requests") / "tiny")
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=4096))
    yield loaded
    loaded.close()


def asked(prefix: str, **params: object) -> CompletionRequest:
    return CompletionRequest(prefix, "\n", stop=FREE, params=SamplingParams(max_tokens=24, **params))  # type: ignore[arg-type]


class SlowNetwork:
    """The tiny network with a clock that moves by a known amount a row."""

    def __init__(self, network: object, monkeypatch: pytest.MonkeyPatch, ms_a_row: float) -> None:
        self._network = network
        self.now = 100.0
        self.calls: list[int] = []
        self._ms_a_row = ms_a_row
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def __getattr__(self, name: str) -> object:
        return getattr(self._network, name)

    def forward(self, token_ids: torch.Tensor, *arguments: object, **options: object) -> torch.Tensor:
        self.calls.append(len(token_ids))
        self.now += len(token_ids) * self._ms_a_row / 1e3
        return self._network.forward(token_ids, *arguments, **options)  # type: ignore[attr-defined, no-any-return]


def slow(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, ms_a_row: float) -> SlowNetwork:
    network = SlowNetwork(runtime._network, monkeypatch, ms_a_row)
    runtime._model = replace(runtime._model, network=network)  # type: ignore[arg-type]
    return network


def test_what_was_proposed_before_is_verified_in_parallel(runtime: Runtime) -> None:
    request = asked("def total(x):\n    return ")
    cold = runtime.complete(request)
    warm = runtime.complete(replace(request, draft=cold.text))
    assert warm.text == cold.text
    assert warm.forwards + 8 <= cold.forwards


def test_a_typed_part_of_the_proposal_leaves_the_rest_warm(runtime: Runtime) -> None:
    for prefix in ("x = (", "🎉\r\n\t", "self."):
        request = asked(prefix)
        cold = runtime.complete(request)
        typed, rest = cold.text[:3], cold.text[3:]
        going_on = runtime.complete(asked(prefix + typed))
        warm = runtime.complete(replace(asked(prefix + typed), draft=rest))
        assert warm.text == going_on.text
        assert warm.forwards <= going_on.forwards


def test_a_wrong_proposal_changes_nothing(runtime: Runtime) -> None:
    rng = random.Random(4)
    for _ in range(20):
        prefix = "".join(rng.choice(["def ", "x", "\n", "é", "self", "("]) for _ in range(rng.randrange(1, 12)))
        request = asked(prefix)
        expected = runtime.complete(replace(request, params=replace(request.params, policy="ar")))
        draft = "".join(rng.choice(["def ", "x", "🎉", "\t", expected.text[:6]]) for _ in range(6))
        assert runtime.complete(replace(request, draft=draft)).text == expected.text


def test_cancelled_reading_is_not_lost(runtime: Runtime) -> None:
    request = asked("x = 1\n" * 120)
    num_asked = 0

    def stop_after_two() -> bool:
        nonlocal num_asked
        num_asked += 1
        return num_asked > 2

    with pytest.raises(Cancelled):
        runtime.complete(request, stop_after_two)
    assert runtime.complete(request).timings.cached_tokens >= 2 * BLOCK


@pytest.mark.parametrize("length", [1, 40, 200])
def test_the_end_of_a_prompt_is_read_by_the_first_step(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    network = slow(runtime, monkeypatch, ms_a_row=0.0)
    request = asked("z = 3\n" * length, policy="ar")
    first = runtime.complete(request)
    num_rows = first.timings.prompt_tokens - 1
    assert network.calls[: -first.forwards] == [BLOCK] * (num_rows // BLOCK), "whole blocks have forwards of their own"
    assert network.calls[-first.forwards] == num_rows % BLOCK + 1
    network.calls.clear()
    typed = runtime.complete(replace(request, prefix=request.prefix + "z"))
    assert typed.timings.cached_tokens > num_rows - BLOCK
    assert len(network.calls) - typed.forwards in (0, 1), "typing a character costs no forward, but where a block ends"


@pytest.mark.parametrize("params", [{}, {"policy": "ar"}, {"policy": "fast"}, {"temperature": 0.8, "seed": 5}])
def test_it_does_not_matter_who_read_the_end(runtime: Runtime, params: dict[str, object]) -> None:
    rng = random.Random(6)
    for _ in range(10):
        request = asked(rng.choice(["a = b\n", "self.x(", "🎉\t", "é\r\n"]) * rng.randrange(1, 60), **params)
        by_the_step = runtime.complete(request)
        assert runtime.read_ahead(request) == by_the_step.timings.prompt_tokens - 1, "all but the anchor"
        read_before = runtime.complete(request)
        assert read_before.timings.cached_tokens == by_the_step.timings.prompt_tokens - 1
        assert read_before.text == by_the_step.text
        assert read_before.token_probs == pytest.approx(by_the_step.token_probs, rel=1e-3)


def test_reading_that_cannot_finish_in_time_goes_on_in_the_next_request(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = slow(runtime, monkeypatch, ms_a_row=1.0)
    request = asked("y = 2\n" * 300, deadline_ms=180.0)
    cached = []
    for _ in range(30):
        started = network.now
        result = runtime.complete(request)
        assert (network.now - started) * 1e3 <= 180.0 + BLOCK
        cached.append(result.timings.cached_tokens)
        if result.finish_reason != "deadline" or result.text:
            break
        assert (result.finish_reason, result.forwards) == ("deadline", 0)
    assert cached == sorted(cached) and len(cached) > 1
    assert result.text, "it never got to write"


@pytest.mark.parametrize("deadline_ms", [0.0, 5.0, 40.0, 97.0, 130.0, 333.0])
@pytest.mark.parametrize("policy", ["ar", "lossless", "fast"])
def test_every_deadline_is_met_within_a_step(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, deadline_ms: float, policy: str
) -> None:
    network = slow(runtime, monkeypatch, ms_a_row=3.0)
    runtime._model.pace.curve = LatencyCurve.of({1: 3.0, 64: 192.0})
    rng = random.Random(int(deadline_ms))
    for i in range(12):
        request = asked(rng.choice(["a = b\n", "self.x(", "🎉\t"]) * rng.randrange(1, 90), policy=policy)
        if i % 3 == 0:
            request = replace(request, draft="a = b\n" * 9)
        request = replace(request, params=replace(request.params, deadline_ms=deadline_ms))
        started, network.calls[:] = network.now, []
        result = runtime.complete(request)
        over = (network.now - started) * 1e3 - deadline_ms
        # A known pace: once something was read, nothing is started that does not fit, but for the smallest step.
        smallest = 1 if result.forwards else max(network.calls, default=0)
        assert over <= 3.0 * smallest + 1e-6


def test_little_time_means_a_small_window_and_a_read_one_stays(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(runtime, monkeypatch, ms_a_row=1.0)
    text = "value = other + 1\n" * 400
    runtime.complete(asked("z" * 3 + "\n" * 200))  # the pace of reading is known from here on
    short = runtime.complete(asked(text, deadline_ms=600.0))
    assert short.timings.prompt_tokens < 500 and short.text
    whole = runtime.complete(asked(text))
    assert whole.timings.prompt_tokens > 1200
    again = runtime.complete(asked(text, deadline_ms=600.0))
    assert again.timings.prompt_tokens == whole.timings.prompt_tokens


def test_reading_ahead_makes_a_wide_window_affordable(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(runtime, monkeypatch, ms_a_row=1.0)
    text = "value = other + 1\n" * 400
    request = asked(text, deadline_ms=600.0)
    stops = iter([False] * 5 + [True])
    assert runtime.read_ahead(asked(text), lambda: next(stops)) == 5 * BLOCK
    assert runtime.read_ahead(request) > 1200
    result = runtime.complete(request)
    assert result.timings.cached_tokens == result.timings.prompt_tokens - 1 > 1200


def test_reading_ahead_begins_with_what_a_deadline_leaves_time_for(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(runtime, monkeypatch, ms_a_row=1.0)
    runtime.complete(asked("z" * 3 + "\n" * 200))  # the pace of reading is known from here on
    request = asked("value = other + 1\n" * 400, deadline_ms=600.0)
    stops = iter([False] * 8 + [True])
    runtime.read_ahead(request, lambda: next(stops))
    result = runtime.complete(request)
    assert result.timings.prompt_tokens < 500, "there was no time for more"
    assert result.timings.cached_tokens == (result.timings.prompt_tokens - 1) // BLOCK * BLOCK, "whole blocks are kept"
    runtime.read_ahead(request)
    assert runtime.complete(request).timings.prompt_tokens > 1200


def test_requests_between_the_steps_of_an_edit_do_not_disturb_it(runtime: Runtime) -> None:
    edit = EditRequest("def f(x):\n\treturn x\r\n", "change it", params=SamplingParams(max_tokens=24))
    alone = [step.text for step in runtime.edit(edit)]
    between = []
    for i, step in enumerate(runtime.edit(edit)):
        between.append(step.text)
        runtime.complete(asked("other 🎉" * (i + 1)))
    assert between == alone and len(alone) > 3


def test_a_generation_is_the_same_cold_and_cached(runtime: Runtime) -> None:
    request = GenerateRequest("x = 1\n" * 40, params=SamplingParams(max_tokens=12))
    texts = {runtime.generate(request).text}
    runtime.complete(asked("something else\n" * 60))
    texts.add(runtime.generate(request).text)
    texts.add(runtime.generate(request).text)
    assert len(texts) == 1


def test_candidates_start_differently_and_the_first_is_completes(runtime: Runtime) -> None:
    for prefix in ("x = ", "def pri", "\tself.x("):
        best = runtime.complete(asked(prefix))
        found = runtime.candidates(asked(prefix), 4)
        assert found[0].text == best.text
        assert 2 <= len(found) <= 4
        assert len({each.text for each in found}) == len(found)
        for other in found[1:]:
            assert other.timings.cached_tokens == other.timings.prompt_tokens - 1  # the prompt is read once
        if prefix == "x = ":
            starts = [each.token_probs[0] for each in found]
            assert starts[0] == max(starts) and min(starts) > 0


@pytest.mark.parametrize("policy", ["ar", "lossless"])
def test_another_candidate_is_what_greedy_writes_behind_its_first_token(runtime: Runtime, policy: str) -> None:
    request = asked("x = (", policy=policy)
    candidate = runtime.candidates(request, 2)[1]
    model = runtime._model
    task = Infill(model, request, lambda: False, num_first_choices=6).task
    *_, state = decode(model, task)
    texts = [greedy_text(runtime, [*task.prompt, first]) for first, _ in state.first_choices[1:]]
    assert candidate.text in texts


def greedy_text(runtime: Runtime, prompt: list[int]) -> str:
    """One token a forward on a cache of its own, written independently of the decoder."""
    network, tokenizer = runtime._network, runtime._model.tokenizer
    cache, ids = network.new_cache(256), list(prompt)
    written = [prompt[-1]]
    while len(written) < 24:
        logits = network.logits(network.forward(torch.tensor(ids), cache))[-1].clone()
        cache.commit(ids)
        logits[runtime._model.forbidden] = float("-inf")
        ids = [int(logits.argmax())]
        if tokenizer.is_special(ids[0]):
            break
        written += ids
    return tokenizer.decode(written)


def test_candidates_share_the_deadline_and_bad_counts_are_named(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(runtime, monkeypatch, ms_a_row=10.0)
    found = runtime.candidates(asked("x = ", deadline_ms=300.0), 8)
    assert 1 <= len(found) < 8
    with pytest.raises(RequestError, match="count is 0"):
        runtime.candidates(asked("x"), 0)


def test_a_weak_line_is_cut_and_given_up_early(runtime: Runtime) -> None:
    request = asked("x = ", min_confidence=0.97)
    result, free = runtime.complete(request), runtime.complete(asked("x = "))
    assert result.finish_reason == "low_confidence" and result.text == ""
    assert result.forwards < free.forwards
    runtime.switches = replace(runtime.switches, gating=False)
    assert runtime.complete(request).text == free.text


@pytest.mark.parametrize("off", ["warm_canvas", "fusion", "schedule", "prefix_cache"])
def test_a_switch_changes_the_work_and_not_the_text(runtime: Runtime, off: str) -> None:
    rng = random.Random(8)
    requests = [asked("".join(rng.choice(["x", "def ", "\n", "é("]) for _ in range(20))) for _ in range(8)]
    requests = [replace(each, draft=rng.choice(["", "x def", "é("])) for each in requests]
    expected = [runtime.complete(each).text for each in requests]
    runtime.switches = replace(runtime.switches, **{off: False})
    assert [runtime.complete(each).text for each in requests] == expected


@pytest.mark.parametrize("edit_threshold", [0.01, 1.0])
def test_fast_is_repeatable_at_any_edit_threshold(runtime: Runtime, edit_threshold: float) -> None:
    request = asked("def f(x):\n", policy="fast", block_size=8, edit_threshold=edit_threshold, accept_threshold=0.05)
    results = [runtime.complete(request) for _ in range(2)]
    runtime.complete(asked("something else"))
    results.append(runtime.complete(request))
    assert len({(each.text, each.forwards) for each in results}) == 1


def test_a_sure_choice_replaces_a_canvas_token_and_a_doubtful_one_does_not(runtime: Runtime) -> None:
    """The thresholds reach the loop: keeping every guess and replacing every guess are different work."""
    different = 0
    for i in range(12):
        request = asked(f"def f{i}(x):\n", policy="fast", block_size=8, accept_threshold=0.9)
        stubborn, eager = (
            runtime.complete(replace(request, params=replace(request.params, edit_threshold=threshold)))
            for threshold in (1.0, 0.01)
        )
        different += (stubborn.forwards, stubborn.text) != (eager.forwards, eager.text)
    assert different
