"""Edits through the real decoding loop, with a scripted network and with a tiny random one: what never changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from model_runtime import Cancelled, EditRequest, EditStep, RequestError, Runtime, RuntimeConfig, SamplingParams
from model_runtime.api import Policy, never_stop
from model_runtime.diffusion.edit import edit
from model_runtime.diffusion.edit_range import split_lines
from tests.support.scripted_network import Rewrite, ScriptedNetwork, scripted_model
from tests.support.tiny_model import write_tiny_checkpoint

CODE = st.text(alphabet=st.sampled_from("ab \t\n\r\f\u2028é🎉:`"), max_size=60)
POLICIES: tuple[Policy, ...] = ("ar", "lossless", "fast")
AWKWARD = "def add(a, b):\r\n\treturn a + b 🙂\r\n\r\n# old old\r\nx = old"


def steps_of(
    text: str,
    rewrite: Rewrite,
    start: int = 0,
    end: int | None = None,
    *,
    policy: Policy = "lossless",
    pinned: tuple[tuple[int, int], ...] = (),
    capacity: int = 4096,
) -> list[EditStep]:
    params = SamplingParams(policy=policy, max_tokens=1500)
    request = EditRequest(text, "improve", start, end, pinned=pinned, params=params)
    return list(edit(scripted_model(rewrite, capacity), request, never_stop))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("edit") / "tiny")
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=1024))
    yield loaded
    loaded.close()


@settings(max_examples=60, deadline=None)
@given(CODE, CODE, CODE, st.sampled_from(POLICIES))
@example("", AWKWARD, "", "lossless")
@example("", "\n\n", "", "lossless")
@example("a\r", "\n  b\n\n", "", "lossless")
@example("", "```python\nx\n```\n````\n", "", "lossless")
def test_a_model_that_changes_nothing_changes_nothing(before: str, part: str, after: str, policy: Policy) -> None:
    steps = steps_of(before + part + after, lambda code: code, len(before), len(before) + len(part), policy=policy)
    assert {step.text for step in steps} == {before + part + after}
    assert steps[-1].is_final and steps[-1].finish_reason == "end"


@pytest.mark.parametrize("policy", POLICIES)
def test_every_stop_is_old_text_behind_new(policy: Policy) -> None:
    """Names are replaced from the front: a stop has the new one up to some place, and the old one from there on."""
    steps = steps_of(AWKWARD, lambda code: code.replace("old", "newer"), policy=policy)
    parts = AWKWARD.split("old")
    valid = {"newer".join(parts[:idx]) + ("newer" if idx else "") + "old".join(parts[idx:]) for idx in range(1, 5)}
    assert {step.text for step in steps} <= valid | {AWKWARD}
    assert steps[-1].text == AWKWARD.replace("old", "newer")
    assert all(step.text[: step.done_offset] == steps[-1].text[: step.done_offset] for step in steps)


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


def test_a_long_range_is_edited_in_windows() -> None:
    functions = [f"def f{number}():\r\n\treturn old + {number}  # 🎉\r\n\r\n" for number in range(60)]
    text = "".join(functions) + "x = 1"
    model = scripted_model(lambda code: code.replace("old", "new"), capacity=800)
    request = EditRequest(text, "improve", params=SamplingParams(max_tokens=500))
    steps = list(edit(model, request, never_stop))
    assert steps[-1].text == text.replace("old", "new")
    assert steps[-1].finish_reason == "end" and steps[-1].num_left == 0
    network = model.network
    assert isinstance(network, ScriptedNetwork)
    assert len(network.codes) > 4
    assert all(code.startswith(("def ", "x")) for code in network.codes), "a window starts where a function does"
    for step in steps:
        done, rest = step.text[: step.done_offset], text
        assert done == steps[-1].text[: step.done_offset]
        assert step.text.endswith(rest[len(rest) - 200 :]) or step.done_offset > len(rest) - 400


def test_windows_without_an_end_are_left_as_they_were() -> None:
    good, bad = "def f():\n    return old\n\n" * 8, "def g():\n    return bad\n\n" * 8
    text = good + bad + good

    def rewrite(code: str) -> str:
        return code + "\n# and on" * 90 if "bad" in code else code.replace("old", "new")

    model = scripted_model(rewrite, capacity=800)
    *_, last = edit(model, EditRequest(text, "improve", params=SamplingParams(max_tokens=300)), never_stop)
    assert last.num_left >= 1
    assert last.finish_reason == "end"
    assert last.text.count("new") > 0 and bad in last.text and "and on" not in last.text


def test_fifty_thousand_lines_begin_at_once_and_stop_at_once() -> None:
    text = "def f(x):\n    return x + old\n\n\n" * 12_500
    forwards: list[int] = []
    model = scripted_model(lambda code: code.replace("old", "new"))
    last = None
    for last in edit(model, EditRequest(text, "improve"), lambda: forwards[-1:] >= [40]):
        forwards.append(last.forwards)
    assert last is not None and last.finish_reason == "cancelled" and last.is_final
    num_new = last.text.count("new")
    assert num_new > 0
    assert last.text == text.replace("old", "new", num_new)


def test_a_stop_in_a_later_window_keeps_the_earlier_ones() -> None:
    text = "".join(f"def f{number}():\n    return old\n\n" for number in range(40))
    windows: list[str] = []

    def rewrite(code: str) -> str:
        windows.append(code)
        return code.replace("old", "new")

    model = scripted_model(rewrite, capacity=700)
    *_, last = edit(model, EditRequest(text, "improve"), lambda: len(windows) >= 3)
    assert last.finish_reason == "cancelled"
    assert last.text.startswith(windows[0].replace("old", "new"))
    assert last.text == text.replace("old", "new", last.text.count("new"))


def test_stopped_before_the_first_token() -> None:
    with pytest.raises(Cancelled):
        list(edit(scripted_model(str.upper), EditRequest("abc", "improve"), lambda: True))


def test_a_rename_costs_one_look_at_each_place() -> None:
    text = "".join(f"    total = total + item[{number}] * rate\n" for number in range(24))
    steps = steps_of(text, lambda code: code.replace("rate", "factor"))
    assert steps[-1].text == text.replace("rate", "factor")
    assert steps[-1].tokens / steps[-1].forwards >= 10


PINS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a = old", "\tb(old)  # 🎉", "", "def f(old):", "    old", "old"]), min_size=1, max_size=9
    ),
    PINS,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["rename", "drop", "swap", "all"]),
    st.sampled_from(POLICIES),
)
def test_pinned_lines_are_in_every_step(
    lines: list[str], pins: list[tuple[int, int]], newline: str, kind: str, policy: Policy
) -> None:
    text = newline.join(lines)
    starts = [0]
    for line in split_lines(text):
        starts.append(starts[-1] + len(line))
    spans = [(starts[min(pair)], starts[max(pair) + 1]) for pair in pins if max(pair) + 1 < len(starts)]
    rewrites: dict[str, Rewrite] = {
        "rename": lambda code: code.replace("old", "newer"),
        "drop": lambda code: "\n".join(code.split("\n")[1::2]),
        "swap": lambda code: "\n".join(reversed(code.split("\n"))),
        "all": lambda code: "pass",
    }
    steps = steps_of(text, rewrites[kind], policy=policy, pinned=tuple(spans))
    for step in steps:
        place = 0
        for start, end in sorted(spans):
            kept = text[start:end].strip("\r\n")
            if kept and start >= (covered := max((e for s, e in spans if s < start), default=0)):
                place = step.text.find(kept, place)
                assert place >= 0, (kept, covered)


def test_a_pinned_name_and_signature_survive_a_rename() -> None:
    text = "def old(x):\r\n    y = old2(x)\r\n    # old is kept here\r\n    return old + y\r\n"
    comment = text.index("# old is kept here")
    pinned = ((0, text.index("\r\n")), (comment, comment + len("# old is kept here")))
    *_, last = steps_of(text, lambda code: code.replace("old", "newer"), pinned=pinned)
    assert last.finish_reason == "end"
    assert last.text == "def old(x):\r\n    y = newer2(x)\r\n    # old is kept here\r\n    return newer + y\r\n"


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


def test_a_pin_outside_the_text_is_named(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match="pinned range 1:9"):
        list(runtime.edit(EditRequest("abc", "improve", pinned=((1, 9),))))


def test_a_range_that_is_too_long_is_refused(runtime: Runtime) -> None:
    with pytest.raises(RequestError, match="tokens, at most"):
        list(runtime.edit(EditRequest("é" * 4000, "improve")))


def test_a_line_that_is_too_long_is_left_alone() -> None:
    text = "x = old\n" + "# old " * 900 + "\ny = old\n"
    *_, last = steps_of(text, lambda code: code.replace("old", "new"), capacity=800)
    assert last.text == text.replace("= old", "= new")
