"""The installed default model through the public API: real text, and `lossless` equal to `ar` on it."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from model_runtime import (
    Cancelled,
    CompletionRequest,
    EditRequest,
    RepairRequest,
    Runtime,
    RuntimeConfig,
    SamplingParams,
    StopRules,
)

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

STACK = '''class Stack:
    """A last-in, first-out collection."""

    def __init__(self):
        self.items = []

    def push(self, item):
        |

    def pop(self):
        return self.items.pop()
'''

HOLES = [
    STACK,
    "def factorial(n):\n    if n == 0:\n        return 1\n    return |\n",
    "import json\n\n\ndef load(path):\n    with open(path) as handle:\n        return |\n",
    "const names = users.map((user) => |);\nconsole.log(names);\n",
    "# 🎉 naïve\r\ndef add(a, b):\r\n\treturn |\r\n",
    "for i in range(10):\n    print(|)\n",
    "items = [3, 1, 2]\nitems.sort(key=lambda item: |)\n",
    "def is_even(number):\n    return |\n\n\ndef is_odd(number):\n    return not is_even(number)\n",
]


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    loaded = Runtime.load(RuntimeConfig(model="coder-0.5b", device="cpu", cache_tokens=2048))
    yield loaded
    loaded.close()


def hole(document: str, **params: object) -> CompletionRequest:
    prefix, suffix = document.split("|")
    asked = SamplingParams(max_tokens=20, **params)  # type: ignore[arg-type]
    return CompletionRequest(prefix, suffix, stop=StopRules(max_lines=1), params=asked)


def test_it_knows_what_it_is(runtime: Runtime) -> None:
    assert (runtime.info.name, runtime.info.device) == ("coder-0.5b", "cpu")
    assert runtime.info.precision.startswith("int8")
    assert runtime.info.resident_bytes < 600_000_000


def test_it_fills_a_hole(runtime: Runtime) -> None:
    result = runtime.complete(hole(HOLES[1]))
    assert "factorial(n-1)" in result.text.replace(" ", "")
    assert "\n" not in result.text.strip()
    assert result.confidence > 0.3


@pytest.mark.parametrize("document", HOLES)
def test_lossless_writes_what_ar_writes(runtime: Runtime, document: str) -> None:
    asked = hole(document, policy="ar")
    expected = runtime.complete(asked)
    actual = runtime.complete(replace(asked, params=replace(asked.params, policy="lossless")))
    assert (actual.text, actual.tokens) == (expected.text, expected.tokens)
    assert actual.forwards <= expected.forwards


def test_typing_on_reads_only_what_is_new(runtime: Runtime) -> None:
    asked = hole(STACK)
    runtime.complete(asked)
    again = runtime.complete(replace(asked, prefix=asked.prefix + "self."))
    assert again.timings.prompt_tokens - again.timings.cached_tokens <= 6


def test_the_answer_is_the_same_to_the_last_bit_behind_any_history(runtime: Runtime) -> None:
    """8-bit activations would turn any other order of sums into another probability."""
    document = STACK.replace("|", "self.items.append(item)") * 3
    cuts = [len(document) // 2, len(document) - 120, len(document) - 119]
    requests = [
        replace(hole("|"), prefix=document[:cut], suffix=document[cut:], params=SamplingParams(max_tokens=6))
        for cut in cuts
    ]

    def answers() -> list[tuple[str, tuple[float, ...]]]:
        results = [runtime.complete(each) for each in requests]
        return [(each.text, each.token_probs) for each in results]

    kept, runtime.switches = runtime.switches, replace(runtime.switches, prefix_cache=False)
    fresh = answers()
    runtime.switches = kept
    assert answers() == fresh
    stops = iter([False, False, True])
    with contextlib.suppress(Cancelled):
        runtime.complete(replace(requests[0], prefix="# another beginning\n" + requests[0].prefix), lambda: next(stops))
    assert answers() == fresh  # the first comes back from the store, cut where it was cut
    assert runtime.complete(requests[0]).timings.cached_tokens >= 64
    for each in requests:
        runtime.read_ahead(each)  # what is behind the last block is otherwise read by the first step
    assert answers() == fresh


def test_a_half_typed_name_is_completed(runtime: Runtime) -> None:
    text = "def factorial(number):\n    if number == 0:\n        return 1\n    return number * fact|\n"
    result = runtime.complete(hole(text))
    assert result.text.replace(" ", "").startswith("orial(number-1)")


def test_an_edit_costs_less_than_a_forward_a_token(runtime: Runtime) -> None:
    text = "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n"
    *_, last = runtime.edit(EditRequest(text, "Rename values to numbers.", language="python"))
    assert last.finish_reason == "end"
    assert last.forwards < last.tokens
    compile(last.text, "edited.py", "exec")


@pytest.mark.parametrize(
    ("good", "right", "wrong"),
    [
        ("def mean(values):\r\n\ttotal = sum(values)\r\n\treturn total / len(values)\r\n", "return", "retrun"),
        ("def first(items):\n    if not items:\n        return None\n    return items[0]\n", "items[0]", "itmes[0]"),
        ("def last(items):\n    return items[-1]", "):", ")"),
    ],
)
def test_repair_finds_the_mistake_by_itself(runtime: Runtime, good: str, right: str, wrong: str) -> None:
    *_, last = runtime.repair(RepairRequest(good.replace(right, wrong), language="python"))
    assert last.text == good
    assert last.tokens <= 30, "only the lines in doubt are written again"


@pytest.mark.parametrize(
    "document",
    [
        'def mean(numbers):\n    """The mean of a list."""\n|    return total / len(numbers)\n',
        'def count_words(text):\n    """How often each word occurs, as a dict."""\n|    return counts\n',
        "class Stack:\n    def __init__(self):\n        self.items = []\n\n    |\n\n    def pop(self):\n"
        "        return self.items.pop()\n",
    ],
)
def test_several_lines_come_above_text_and_a_block_does_not_end_without_a_body(runtime: Runtime, document: str) -> None:
    prefix, suffix = document.split("|")
    asked = CompletionRequest(prefix, suffix, language="python", params=SamplingParams(max_tokens=64))
    written = runtime.complete(asked)
    assert written.text == runtime.complete(replace(asked, params=replace(asked.params, policy="ar"))).text
    assert written.finish_reason == "end"
    assert len(written.text.strip().splitlines()) >= 2
    ast.parse(prefix + written.text + suffix)
