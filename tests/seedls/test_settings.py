from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedls.settings import Settings, option_table, resolve_settings, settings_markdown, vscode_properties

DOCS = Path(__file__).parent.parent.parent / "docs" / "settings.md"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_the_documentation_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == settings_markdown(), "run: python -m seedls.settings --write"


def test_no_options_give_the_defaults() -> None:
    assert resolve_settings() == (Settings(), [])
    assert resolve_settings({}, {"completion": {"mode": None}}) == (Settings(), [])


def test_an_empty_section_may_be_written_as_an_empty_list() -> None:
    """Lua has one empty table for both, and Neovim sends it as `[]`."""
    assert resolve_settings({"completion": [], "context": []}) == (Settings(), [])
    assert resolve_settings({"exclude": []})[0].exclude == ()
    assert resolve_settings({"device": []})[1] == ["device: [] is not a non-empty string"]


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:13"])
def test_a_device_that_may_exist_is_taken(device: str) -> None:
    assert resolve_settings({"device": device}) == (Settings(device=device), [])


def test_nested_and_dotted_options_and_the_last_layer_wins() -> None:
    settings, complaints = resolve_settings(
        {"completion": {"mode": "subtle", "maxTokens": 10}, "model": "a"}, {"completion.maxTokens": 20}
    )
    assert complaints == []
    assert (settings.completion_mode, settings.completion_max_tokens, settings.model) == ("subtle", 20, "a")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"completion.mode": "loud"}, "completion.mode: 'loud' is not one of eager, subtle"),
        ({"completion.maxTokens": 0}, "completion.maxTokens: 0 is not between 1 and 1024"),
        ({"completion.maxTokens": 1.5}, "completion.maxTokens: 1.5 is not a whole number"),
        ({"completion.maxTokens": True}, "completion.maxTokens: True is not a whole number"),
        ({"completion.minConfidence": "high"}, "completion.minConfidence: 'high' is not a number"),
        ({"completion.minConfidence": float("nan")}, "completion.minConfidence: nan is not between 0.0 and 1.0"),
        ({"completion.enabled": 1}, "completion.enabled: 1 is not true or false"),
        ({"exclude": "*.py"}, "exclude: '*.py' is not a list of strings"),
        ({"model": ""}, "model: '' is not a non-empty string"),
        ({"device": "gpu"}, "device: 'gpu' is not auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:"}, "device: 'cuda:' is not auto, cpu, cuda or cuda:N"),
        ({"completion": ["mode"]}, "unknown setting 'completion'"),
        ({"colour": "red"}, "unknown setting 'colour'"),
    ],
)
def test_a_wrong_value_is_named_and_the_default_used(options: dict[str, Any], complaint: str) -> None:
    assert resolve_settings(options) == (Settings(), [complaint])


def test_numbers_are_taken_as_their_kind() -> None:
    settings, complaints = resolve_settings({"completion.maxTokens": 5.0, "completion.minConfidence": 1})
    assert complaints == []
    assert isinstance(settings.completion_max_tokens, int)
    assert isinstance(settings.completion_min_confidence, float)


@given(st.dictionaries(st.sampled_from([option.key for option, _ in option_table()]), values))
def test_any_json_value_is_taken_or_named(options: dict[str, Any]) -> None:
    settings, complaints = resolve_settings(options)
    assert isinstance(settings, Settings)
    assert len(complaints) <= sum(_leaves(value) for value in options.values())


def _leaves(value: Any) -> int:
    return sum(map(_leaves, value.values())) if isinstance(value, dict) else 1


def test_the_vscode_schema_has_every_setting() -> None:
    properties = vscode_properties()
    assert len(properties) == sum(1 for _ in option_table())
    assert properties["seedls.completion.mode"] == {
        "type": "string",
        "default": "eager",
        "markdownDescription": "`eager`: while typing. `subtle`: only when asked for.",
        "enum": ["eager", "subtle"],
    }
    assert properties["seedls.completion.enabled"]["type"] == "boolean"
