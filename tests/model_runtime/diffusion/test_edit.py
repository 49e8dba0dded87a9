"""Edits on a tiny random model, and the range's way to the model and back: nothing outside the range ever changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from model_runtime import EditRequest, RequestError, Runtime, RuntimeConfig, SamplingParams
from model_runtime.diffusion.edit import Range
from tests.support.tiny_model import write_tiny_checkpoint

CODE = st.text(alphabet=st.sampled_from("ab \t\n\r\f\u2028é🎉:"), max_size=60)
INDENTED = "    def area(self):\r\n        return self.w\r\n\r\n    x = 1"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("edit") / "tiny")
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=1024))
    yield loaded
    loaded.close()


@given(CODE)
@example("")
@example("\n")
@example("a\r\n")
@example("  a\n\n  b")
@example(INDENTED)
def test_unchanged_code_comes_back_byte_for_byte(text: str) -> None:
    part = Range.of(text)
    assert part.restore(part.code) == text


def test_indentation_and_line_ends_come_back() -> None:
    part = Range.of(INDENTED)
    assert part.code == "def area(self):\n    return self.w\n\nx = 1"
    changed = part.code.replace("self.w", "self.w * self.h")
    assert part.restore(changed) == INDENTED.replace("self.w\r", "self.w * self.h\r")


def test_a_new_last_line_ends_as_the_old_one_did() -> None:
    assert Range.of("a = 1\n").restore("a = 1\nb = 2") == "a = 1\nb = 2\n"
    assert Range.of("a = 1").restore("a = 1\nb = 2") == "a = 1\nb = 2"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CODE, CODE, CODE)
def test_any_stop_leaves_the_rest_of_the_text_alone(runtime: Runtime, before: str, part: str, after: str) -> None:
    text = before + part + after
    asked = EditRequest(text, "improve", len(before), len(before) + len(part), params=SamplingParams(max_tokens=12))
    steps = list(runtime.edit(asked))
    assert [step.is_final for step in steps] == [False] * (len(steps) - 1) + [True]
    for step in steps:
        assert step.text.startswith(before)
        assert step.text.endswith(after)
        assert len(step.text) >= len(before) + len(after)


def test_lossless_equals_ar(runtime: Runtime) -> None:
    text = "def f(x):\n    print(x)\n    return x\n" * 3
    final = {}
    for policy in ("ar", "lossless"):
        params = SamplingParams(policy=policy, max_tokens=60)  # type: ignore[arg-type]
        *_, final[policy] = runtime.edit(EditRequest(text, "improve", params=params))
    assert final["ar"].text == final["lossless"].text
    assert final["ar"].tokens == final["lossless"].tokens


@pytest.mark.parametrize(
    ("start", "end", "instruction", "named"),
    [
        (5, 2, "x", "range 5:2"),
        (0, 99, "x", "range 0:99"),
        (-1, 2, "x", "range -1:2"),
        (0, 1, "  ", "instruction is empty"),
    ],
)
def test_bad_requests_are_named(runtime: Runtime, start: int, end: int, instruction: str, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        list(runtime.edit(EditRequest("abc", instruction, start, end)))


def test_a_range_that_is_too_long_is_refused(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match="tokens, at most"):
        list(runtime.edit(EditRequest("é" * 4000, "improve")))
