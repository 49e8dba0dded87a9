"""What `model_runtime` offers, and that offering it costs nothing until it is used."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

import model_runtime
from model_runtime import api
from tests.architecture.source_tree import ROOT

HEAVY = ("torch", "cupy", "transformers", "numpy", "gguf", "tokenizers", "safetensors")

PRINT_LOADED = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded_after(statement: str) -> set[str]:
    """The modules in memory of a fresh interpreter after one statement."""
    command = [sys.executable, "-W", "error", "-c", f"{statement}; {PRINT_LOADED}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", model_runtime.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(model_runtime, name) is not None


def test_the_public_list_is_sorted_unique_and_complete() -> None:
    names = list(model_runtime.__all__)
    assert names == sorted(set(names))
    assert set(model_runtime._MODULE_OF_NAME) == set(names)
    assert set(names) <= set(dir(model_runtime))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = model_runtime.no_such_name


@pytest.mark.parametrize(
    "statement",
    [
        "import model_runtime",
        "from model_runtime import CompletionRequest, RuntimeConfig, RuntimeFailure, find_program",
        "import seedls.server",
        "import seedls.cli; seedls.cli.build_parser()",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_after(statement) & set(HEAVY)


def test_this_test_notices_a_heavy_import() -> None:
    assert "numpy" in loaded_after("import numpy")


def test_importing_the_server_touches_no_device_and_no_log() -> None:
    statement = "import logging; before = list(logging.root.handlers); import seedls.server"
    statement += "; assert logging.root.handlers == before"
    assert "seedls.server" in loaded_after(statement)


def test_the_api_speaks_plain_values() -> None:
    """Every field of every request and result is text, a number, a tuple of such, or another type of `api`."""
    names = "str|int|float|bool|None|Policy|FinishReason|Snippet|StopRules|SamplingParams|Timings|tuple"
    plain = re.compile(rf"({names}|[][, .|])+")
    odd = {
        f"{name}.{field.name}: {field.type}"
        for name, kind in vars(api).items()
        if dataclasses.is_dataclass(kind)
        for field in dataclasses.fields(kind)
        if not plain.fullmatch(str(field.type))
    }
    assert not odd, f"rule: the runtime speaks text, character offsets and plain values: {odd}"
    assert plain.fullmatch("Tensor | None") is None


def test_requests_and_results_cannot_be_changed() -> None:
    kinds = [kind for kind in vars(api).values() if dataclasses.is_dataclass(kind)]
    assert len(kinds) >= 10
    assert all(kind.__dataclass_params__.frozen and hasattr(kind, "__slots__") for kind in kinds)
