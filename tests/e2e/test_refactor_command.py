"""seedls.refactor (the user's own words) and the silent seedls/explainLast, over a real pipe."""

from __future__ import annotations

from typing import Any

import pytest

from seedls.protocol import MAX_PROMPT_CHARACTERS
from tests.e2e.test_code_action import CODE, FUNCTION, URI, _applied, _span
from tests.support.fake_engine import PlannedEdit, Script
from tests.support.lsp_client import Editor

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
RENAME = PlannedEdit("add(a, b):\n    return a + b", "add(left, b):\n    return left + b", "call the first one left 👋")


def _wire(span: Any) -> dict[str, Any]:
    ends = {"start": span.start, "end": span.end}
    return {name: {"line": place.line, "character": place.character} for name, place in ends.items()}


@pytest.mark.parametrize("span", [FUNCTION, _span(2, 6, 2, 6)], ids=["selection", "caret in a function"])
async def test_the_users_words_reach_the_model_and_its_edit_the_editor(editor: Editor, span: Any) -> None:
    editor.plan(Script(edits=(RENAME,)))
    uri = editor.open(URI, CODE)
    request = {"uri": uri, "range": _wire(span), "instruction": "  call the first one left 👋 "}
    assert await editor.command("seedls.refactor", request) is True
    (edit,) = editor.applied
    assert _applied(CODE, edit) == CODE.replace(
        "add(a, b):\r\n    return a + b", "add(left, b):\r\n    return left + b"
    )
    assert editor.calls("edit")[0]["instruction"] == "call the first one left 👋"
    explanation = await editor.client.protocol.send_request_async("seedls/explainLast", None)
    assert (explanation.outcome, explanation.reason) == ("shown", "custom")  # never the user's words
    assert editor.messages == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"instruction": ""}, "the instruction is empty"),
        ({"instruction": 5}, "instruction is 5, not text"),
        ({"instruction": "x" * (MAX_PROMPT_CHARACTERS + 1)}, "2001 characters, more than 2000"),
        ({"uri": "file:///w/other.py"}, "'file:///w/other.py' is not an open document"),
        ({"uri": None}, "None is not an open document"),
        ({"range": None}, "range.start is None, not a position"),
        ({"range": {"start": {"line": -1, "character": 0}}}, "not a position"),
        ({"range": _wire(_span(3, 0, 3, 0))}, "select some code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_done_is_told_in_one_line(editor: Editor, change: dict[str, Any], told: str) -> None:
    editor.plan(Script(edits=(RENAME,)))
    uri = editor.open(URI, CODE)
    request = {"uri": uri, "range": _wire(FUNCTION), "instruction": "do it", **change}
    assert await editor.command("seedls.refactor", request) is False
    (message,) = editor.messages
    assert told in message
    assert editor.applied == []


async def test_arguments_that_are_no_request(editor: Editor) -> None:
    assert await editor.command("seedls.refactor") is False
    assert await editor.command("seedls.refactor", "rename it") is False
    assert [message.partition(": ")[2] for message in editor.messages] == [
        "refactor: None is not an object",
        "refactor: 'rename it' is not an object",
    ]
