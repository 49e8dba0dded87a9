"""A wrong logit shift is noticed before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_runtime.api import CompletionRequest, EditRequest, GenerateRequest, SamplingParams
from model_runtime.cache.canvas_cache import CanvasCache
from model_runtime.config import RuntimeConfig
from model_runtime.diffusion.shift_probe import SAMPLE, check_shift
from model_runtime.errors import CheckpointMismatch
from model_runtime.runtime import Runtime
from model_runtime.tokenizer import Tokenizer
from tests.families.published import CHECKPOINTS, MASK_ID, load_published, write_published


class KnowsTheSample:
    """A network that knows every masked token, and says it in its own row or in the row before."""

    device = torch.device("cpu")

    def __init__(self, tokenizer: Tokenizer, shift: int) -> None:
        self._truth = torch.tensor(tokenizer.encode(SAMPLE))
        self._shift = shift

    def forward_canvas(self, token_ids: Tensor, positions: Tensor, window: object, mask: object = None) -> Tensor:
        return positions

    def logits(self, hidden: Tensor) -> Tensor:
        places = (hidden + self._shift).clamp_max(len(self._truth) - 1)
        return 8.0 * torch.nn.functional.one_hot(self._truth[places], 300).float()


@pytest.mark.parametrize("name", sorted(set(CHECKPOINTS) - {"llama", "qwen3", "wedlm-qwen2", "wedlm-qwen3"}))
def test_a_network_of_the_other_kind_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_published(name, tmp_path)
    config, tokenizer = load_published(folder).family_config, Tokenizer.load(folder)
    right, family = int(config.family.shift), CHECKPOINTS[name]
    cache = CanvasCache(1, 1, 2, 512, torch.float32, torch.device("cpu"))
    check_shift(KnowsTheSample(tokenizer, right), cache, config, tokenizer, MASK_ID)
    with pytest.raises(
        CheckpointMismatch, match=f"family '{family}' predicts a position from .* this network does not"
    ):
        check_shift(KnowsTheSample(tokenizer, 1 - right), cache, config, tokenizer, MASK_ID)
    other = replace(config, family=replace(config.family, shift=not config.family.shift))
    check_shift(KnowsTheSample(tokenizer, 1 - right), cache, other, tokenizer, MASK_ID)


@pytest.mark.parametrize("name", sorted(name for name in CHECKPOINTS if name not in ("llama", "qwen3")))
def test_random_weights_say_nothing(name: str, tmp_path: Path) -> None:
    config = RuntimeConfig(
        model=str(write_published(name, tmp_path)), device="cpu", precision="float32", cache_tokens=512
    )
    Runtime.load(config).warm_up()


@pytest.mark.parametrize("call", ["complete", "generate", "edit", "warm_up"])
def test_no_call_writes_before_the_shift_is_checked(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RuntimeConfig(model=str(write_published("llada", tmp_path)), device="cpu", cache_tokens=512)
    runtime, checks = Runtime.load(config), list[bool]()
    calls: dict[str, Callable[[], object]] = {
        "complete": lambda: runtime.complete(CompletionRequest("x = ", "\n", params=SamplingParams(max_tokens=2))),
        "generate": lambda: runtime.generate(GenerateRequest("x = ", params=SamplingParams(max_tokens=2))),
        "edit": lambda: list(runtime.edit(EditRequest("x = 1\n", "rename x", params=SamplingParams(max_tokens=2)))),
        "warm_up": runtime.warm_up,
    }

    def refuse(*_: object) -> None:
        checks.append(False)
        raise CheckpointMismatch("another shift")

    monkeypatch.setattr("model_runtime.family_runtime.check_shift", refuse)
    for _ in range(2):
        with pytest.raises(CheckpointMismatch, match="another shift"):
            calls[call]()
    monkeypatch.setattr("model_runtime.family_runtime.check_shift", lambda *_: checks.append(True))
    calls[call]()
    calls["generate"]()
    assert checks == [False, False, True], "once is enough"
