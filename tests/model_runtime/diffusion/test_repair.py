"""Repair: what is in doubt is written again, what is not stays; changes are carried through the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime import EditStep, RepairRequest, RequestError
from model_runtime.api import never_stop
from model_runtime.diffusion.edit_doubts import MAX_DOUBTS, doubtful_lines
from model_runtime.diffusion.repair import repair
from model_runtime.diffusion.substitutions import Substitution, observed_between
from tests.support.scripted_network import Rewrite, ScriptedNetwork, scripted_model

GOOD = "".join(f"def f{number}(x):\r\n\treturn x + {number}  # 🎉\r\n\r\n" for number in range(12))


def steps_of(request: RepairRequest, rewrite: Rewrite) -> tuple[list[EditStep], ScriptedNetwork]:
    model = scripted_model(rewrite)
    steps = list(repair(model, request, never_stop))
    assert isinstance(model.network, ScriptedNetwork)
    return steps, model.network


def test_a_mistake_is_found_and_only_its_place_is_written_again() -> None:
    bad = GOOD.replace("return x + 5", "retrun x + 5")
    steps, network = steps_of(RepairRequest(bad), lambda code: code.replace("retrun", "return"))
    assert steps[-1].text == GOOD and steps[-1].finish_reason == "end"
    assert network.codes[0].startswith("def f0"), "the model saw all of it"
    assert steps[-1].tokens <= 60, "and wrote a few lines of it"
    other_lines = [line for line in bad.split("\r\n") if "retrun" not in line]
    for step in steps:
        lines = step.text.split("\r\n")
        assert [line for line in lines if line in other_lines] == other_lines and len(lines) == len(other_lines) + 1


def test_nothing_is_written_where_nothing_is_in_doubt() -> None:
    steps, _ = steps_of(RepairRequest(GOOD), lambda code: code)
    assert [step.text for step in steps] == [GOOD]
    assert steps[0].tokens == 0 and steps[0].forwards > 0


def test_a_reported_problem_is_looked_at_whatever_the_model_thinks() -> None:
    place = GOOD.index("x + 7")
    request = RepairRequest(GOOD, problems=((place, place + 1, "x may be None"),))
    steps, network = steps_of(request, lambda code: code)
    assert steps[-1].text == GOOD and 0 < steps[-1].tokens <= 60
    assert network.codes == [network.codes[0]]


def test_two_mistakes_in_one_pass() -> None:
    bad = GOOD.replace("return x + 2", "retrun x + 2").replace("return x + 10", "retrun x + 10")
    steps, _ = steps_of(RepairRequest(bad), lambda code: code.replace("retrun", "return"))
    assert steps[-1].text == GOOD


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab \t\n\r é🎉:`"), max_size=40), st.sampled_from(["same", "upper", "drop"]))
def test_repair_of_any_text_ends_and_unchanged_text_stays(text: str, kind: str) -> None:
    rewrites: dict[str, Rewrite] = {"same": lambda code: code, "upper": str.upper, "drop": lambda code: ""}
    steps, _ = steps_of(RepairRequest(f"# before\n{text}\n# after\n", 9, 9 + len(text)), rewrites[kind])
    assert steps[-1].is_final
    for step in steps:
        assert step.text.startswith("# before\n") and step.text.endswith("\n# after\n")
    if kind == "same":
        assert steps[-1].text == f"# before\n{text}\n# after\n"


def test_a_change_is_carried_through_the_rest_and_stays() -> None:
    text = "def area(width, h):\n    return w * h\n\ndef volume(w, h, d):\n    return area(w, h) * d\n"
    head = (0, text.index("\n"))
    request = RepairRequest(text, changes=(("def area(w, h):", "def area(width, h):"),), pinned=(head,))
    steps, network = steps_of(request, lambda code: code.replace("w * h", "width * h").replace("(width", "(W"))
    assert steps[-1].text == text.replace("w * h", "width * h")
    assert len(network.codes) >= 1


def test_what_cannot_be_repaired_is_named() -> None:
    with pytest.raises(RequestError, match="range 3:99"):
        list(repair(scripted_model(str.upper), RepairRequest("abc", 3, 99), never_stop))


@pytest.mark.parametrize(
    ("ratios", "spans"),
    [
        ([1.0, 1.0, 1.0, 1.0], []),
        ([1.0, 0.01, 1.0, 1.0], [(0, 4)]),
        ([1.0, 1.0, 0.01, 1.0], [(4, 7)]),
        ([0.0, 1.0, 0.01, 0.0], [(0, 9)]),
    ],
)
def test_doubtful_lines(ratios: list[float], spans: list[tuple[int, int]]) -> None:
    assert doubtful_lines("a🎉b\ncd\ne\n", [1, 6, 3, 2], ratios) == spans


def test_only_the_most_doubtful_lines_are_looked_at() -> None:
    code = "a\n" * 20
    assert len(doubtful_lines(code, [2] * 20, [0.05 if number % 2 else 0.01 for number in range(20)])) == MAX_DOUBTS


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        ("def f(rate):", "def f(factor):", Substitution("rate", "factor")),
        ("x.rate = 1", "x.rates = 1", Substitution("rate", "rates", is_member=True)),
        ("a", "a", None),
        ("a b", "c d", Substitution("a b", "c d")),
    ],
)
def test_what_is_seen_of_a_change(before: str, after: str, seen: Substitution | None) -> None:
    assert observed_between(before, after) == seen
