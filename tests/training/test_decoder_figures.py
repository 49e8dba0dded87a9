"""Figures in the real decoder: a model put together from a base and adapters leaves nothing behind that piles up."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_runtime import CompletionRequest, SamplingParams
from model_runtime.conversion import FileDigest, convert
from model_runtime.layers.linear import has_int8_products
from model_runtime.training.decoder_figures import runtime_with
from tests.support.tiny_model import write_tiny_gguf


@pytest.mark.skipif(not has_int8_products(), reason="this torch has no 8-bit products")
def test_loading_again_keeps_one_set_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf")
    convert(gguf, tmp_path / "tiny", name="tiny", source_digest=FileDigest(1, "0" * 64))
    texts = set()
    for _ in range(3):
        with runtime_with(tmp_path / "tiny", None, None, "int8", 1) as runtime:
            params = SamplingParams(policy="lossless", max_tokens=4)
            texts.add(runtime.complete(CompletionRequest("def f(x):\n    ", "\n", params=params)).text)
    assert len(texts) == 1 and len(list((tmp_path / "home" / "packed").iterdir())) == 1
