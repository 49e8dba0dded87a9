"""Random requests with cancellations, deadlines, drafts and edits between them: no wrong answer, leak or late stop."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

from benchmarks.soak import Soak, resident_mib
from model_runtime import Runtime, RuntimeConfig
from model_runtime.cache.prefix import BLOCK
from tests.support.tiny_model import write_tiny_checkpoint


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("soak") / "tiny")
    # Room for two documents of six in the store, so that it evicts all the time.
    config = RuntimeConfig(
        model=str(folder), device="cpu", precision="float32", cache_tokens=2048, prefix_cache_bytes=12 * 2**15
    )
    loaded = Runtime.load(config)
    # Sums of the tiny model's float products depend on how threads share them; those of the 8-bit products do not.
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield loaded
    torch.set_num_threads(num_threads)
    loaded.close()


def test_a_short_soak(runtime: Runtime) -> None:
    soak = Soak(runtime, seed=5, max_tokens=6)
    outcome = soak.run(400)
    assert outcome.wrong == []
    assert outcome.slow_stops == 0
    assert outcome.compared > 40 and outcome.cancelled > 40 and outcome.late > 5
    assert runtime._model.prefixes.num_bytes <= 12 * 2**15
    assert len(runtime._model.prefixes) * BLOCK > 0


def test_requests_leave_nothing_for_the_garbage_collector(runtime: Runtime) -> None:
    soak = Soak(runtime, seed=8, max_tokens=4)
    soak.run(40)
    gc.collect()
    gc.disable()
    try:
        outcome = soak.run(120)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kept = [each for each in gc.garbage if type(each).__module__.startswith("model_runtime")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert outcome.cancelled > 20 and outcome.late > 0
    assert kept == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_requests(runtime: Runtime) -> None:
    outcome = Soak(runtime, seed=6, max_tokens=8).run(10_000)
    assert outcome.wrong == []
    assert outcome.slow_stops == 0
    assert outcome.compared > 1000 and outcome.cancelled > 1000
    assert resident_mib() == 0 or outcome.growth_mib < 24, outcome.resident_mib


def test_a_cache_that_forgets_to_forget_would_be_noticed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_runtime.diffusion.prefill.enter_prompt", _enter_and_trust_everything)
    assert Soak(runtime, seed=5, max_tokens=6).run(150).wrong


def _enter_and_trust_everything(cache, store, token_ids):  # type: ignore[no-untyped-def]
    """A wrong rule: rows of as many tokens as the prompt has are taken for its own."""
    cache.truncate(min(cache.length, len(token_ids)))
    cache._token_ids[:] = list(token_ids)[: cache.length]
    cache._num_prompt_rows = min(cache.length, len(token_ids) - len(token_ids) % BLOCK)
    return cache.length
