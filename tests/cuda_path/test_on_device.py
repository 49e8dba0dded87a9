"""The wired path on a real device: captured, replayed and run ahead, against the same path in plain torch there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.kernels import load_kernels
from tests.cuda_path.fused_model import PLAIN, load, random_adapter
from tests.cuda_path.test_decoding import TEXTS, complete, runtime
from tests.cuda_path.test_run_ahead import one_at_a_time, read_prompt

pytestmark = pytest.mark.gpu


def captured(folder: Path, precision: str) -> FusedNetwork:
    dtype = torch.float16 if precision == "float16" else torch.bfloat16
    kernels = load_kernels("cuda:0", dtype)
    assert all(operation.is_kernel for operation in kernels.operations.values()), kernels.describe()
    network = load(folder, kernels, precision, mask=random_adapter(folder, "mask"), device="cuda:0")
    assert network.graphs.is_capturing
    return network


def test_replayed_steps_are_the_references(folder: Path) -> None:
    network = captured(folder, "float16")
    plain = load(folder, PLAIN, "float16", mask=random_adapter(folder, "mask"), device="cuda:0")
    prompt = list(range(5, 60))
    expected = one_at_a_time(plain, read_prompt(plain, prompt), 9, 24)
    assert one_at_a_time(network, read_prompt(network, prompt), 9, 24) == expected
    assert network.graphs.is_capturing
    assert network.graphs.num_replays >= 23
    assert network.statistics.foreseen == 24 - 3


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8", "int4"])
def test_lossless_writes_what_ar_writes(folder: Path, precision: str) -> None:
    loaded = runtime(folder, captured(folder, precision))
    for prefix in TEXTS:
        expected = complete(loaded, prefix, policy="ar")
        for block in (None, 4, 32):
            assert complete(loaded, prefix, policy="lossless", block_size=block).text == expected.text


def test_the_same_text_with_kernels_on_and_off(folder: Path) -> None:
    plain = load(folder, PLAIN, "float16", mask=random_adapter(folder, "mask"), device="cuda:0")
    ours, theirs = runtime(folder, captured(folder, "float16")), runtime(folder, plain)
    for prefix in TEXTS:
        for policy in ("ar", "lossless", "fast"):
            asked = {"policy": policy, "block_size": 8}
            assert complete(ours, prefix, **asked).text == complete(theirs, prefix, **asked).text
