"""seedls/nextEdit and textDocument/copilotInlineEdit over a real pipe, with keystrokes as an editor sends them."""

from __future__ import annotations

from typing import Any

import pytest
from lsprotocol import types

from seedls.protocol import COPILOT_INLINE_EDIT, NEXT_EDIT
from tests.support.fake_engine import PlannedCompletion, Script
from tests.support.lsp_client import Editor

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
URI = "file:///w/a.py"
CODE = "def old(a):\r\n    return '👋', old(a)\r\n\r\n\r\nprint(old(2))\r\n"
AREA = "def area(width):\n    return width\n\n\nprint(area(2))\nprint(area(3))\n"


def _type(editor: Editor, line: int, character: int, text: str) -> None:
    """One change a character."""
    for idx, one in enumerate(text):
        place = types.Position(line, character + idx)
        editor.replace_range(URI, types.Range(place, place), one)


def _rename(editor: Editor) -> None:
    editor.open(URI, CODE)
    editor.replace_range(URI, types.Range(types.Position(0, 4), types.Position(0, 7)), "")
    _type(editor, 0, 4, "fresh")


async def _ask(editor: Editor, method: str, line: int = 0, character: int = 9, **document: Any) -> Any:
    params = {
        "textDocument": {"uri": URI, **document},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": 2},
    }
    return await editor.raw_request(method, params)


def _span(edit: Any) -> tuple[int, int, int, int]:
    return edit.range.start.line, edit.range.start.character, edit.range.end.line, edit.range.end.character


async def test_a_rename_half_done(editor: Editor) -> None:
    _rename(editor)
    answer = await _ask(editor, NEXT_EDIT)
    assert (answer.uri, answer.version) == (URI, 18)
    assert [(_span(edit), edit.text, edit.kind) for edit in answer.edits] == [
        ((1, 17, 1, 20), "fresh", "rename"),
        ((4, 6, 4, 9), "fresh", "rename"),
    ]
    assert editor.calls("complete") == []
    explained = await editor.explain()
    assert (explained["request"], explained["outcome"], explained["reason"]) == ("nextEdit", "shown", "2 x rename")


async def test_the_shape_that_existing_interfaces_render(editor: Editor) -> None:
    _rename(editor)
    editor.client.protocol.notify("textDocument/didFocus", {"textDocument": {"uri": URI}})
    (edit,) = (await _ask(editor, COPILOT_INLINE_EDIT, version=18)).edits
    assert (_span(edit), edit.text) == ((1, 17, 1, 20), "fresh")
    assert (edit.textDocument.uri, edit.textDocument.version) == (URI, 18)
    editor.client.protocol.notify("textDocument/didShowInlineEdit", {"item": {}})
    await editor.command(edit.command.command, *edit.command.arguments)
    assert (await editor.command("seedls.status"))["counters"]["accepted"] >= 1
    # Applied, the next one is the other call.
    editor.replace_range(URI, types.Range(types.Position(1, 17), types.Position(1, 20)), "fresh")
    assert (await _ask(editor, COPILOT_INLINE_EDIT, version=18)).edits == []  # that version is gone
    assert (await editor.explain())["outcome"] == "stale"


async def test_the_model_writes_a_missing_argument(editor: Editor) -> None:
    editor.plan(
        Script(completions=(PlannedCompletion("5", after="area(2, "), PlannedCompletion("(", after="area(3, ")))
    )
    editor.open(URI, AREA)
    _type(editor, 0, 14, ", height")
    (edit,) = (await _ask(editor, NEXT_EDIT)).edits  # the other answer would add a syntax error
    assert (_span(edit), edit.text, edit.kind) == ((4, 11, 4, 12), "2, 5", "argument")


async def test_silence_has_its_reason(editor: Editor) -> None:
    assert await _ask(editor, NEXT_EDIT) is None
    assert (await editor.explain())["reason"] == "the document is not open"
    editor.open(URI, CODE)
    assert await _ask(editor, NEXT_EDIT) is None
    assert (await editor.explain())["reason"] == "nothing was edited yet"
    _type(editor, 3, 0, "x")
    assert await _ask(editor, NEXT_EDIT) is None
    assert (await editor.explain())["reason"] == "the last edit implies no other"
    await editor.configure({"nextEdit": {"enabled": False}})
    assert await _ask(editor, NEXT_EDIT) is None
    assert (await editor.explain())["reason"] == "nextEdit.enabled is false"


async def test_a_malformed_request_is_answered(editor: Editor) -> None:
    assert await editor.raw_request(NEXT_EDIT, {"nothing": 1}) is None
    assert await editor.state() == "ready"
