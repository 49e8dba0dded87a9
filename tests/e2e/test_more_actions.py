"""Tests in a new file, extracting lines, repairing a file, over a real pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import Editor, running_server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
URI = "file:///w/a.py"
CODE = "def add(a, b):\r\n    total = a\r\n    total += b\r\n    return total\r\n"


def _span(first: int, start: int, last: int, end: int) -> types.Range:
    return types.Range(types.Position(first, start), types.Position(last, end))


async def _titled(editor: Editor, span: types.Range, title: str, only: Any = None) -> types.CodeAction:
    (action,) = [one for one in await editor.actions(URI, span, only) if one.title.startswith(title)]
    return action


async def test_tests_are_written_into_a_new_file(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "src" / "shop").mkdir(parents=True)
    (root / "tests").mkdir()
    uri = (root / "src" / "shop" / "sums.py").as_uri()
    answer = "():\n    assert add(1, 2) == 3\n\n\ndef test_half():\n    assert add("
    script = Script(completions=(PlannedCompletion(answer, after="def test_add"),))
    async with running_server(tmp_path, script, root=root) as editor:
        editor.open(uri, CODE)
        actions = await editor.actions(uri, _span(0, 5, 0, 5))
        (action,) = [one for one in actions if one.title.startswith("Add tests")]
        resolved = await editor.client.code_action_resolve_async(action)
        assert resolved.edit is not None
        create, edit = resolved.edit.document_changes or ()
        assert isinstance(create, types.CreateFile)
        assert isinstance(edit, types.TextDocumentEdit)
        assert create.uri == edit.text_document.uri == (root / "tests" / "test_sums.py").as_uri()
        assert create.options == types.CreateFileOptions(overwrite=False, ignore_if_exists=False)
        assert [one.new_text for one in edit.edits] == [  # type: ignore[union-attr]
            "from shop.sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
        ]
        explained = await editor.explain()
        assert (explained["request"], explained["outcome"], explained["reason"]) == (
            "codeAction/resolve",
            "shown",
            "tests",
        )
        (call,) = editor.calls("complete")
        assert call["prefix"].startswith("# src/shop/sums.py\n# def add(a, b):\n#     total = a\n")
        editor.plan(Script(completions=(PlannedCompletion("():\n    add(1, 2)\n"),)))
        resolved = await editor.client.code_action_resolve_async(action)
        assert resolved.edit is None
        assert editor.messages[-1].endswith("the model wrote no test that checks something")
        assert (await editor.explain())["outcome"] == "quiet"


async def test_clients_that_cannot_create_files_are_not_offered_new_ones(editor: Editor) -> None:
    def plain(abilities: types.ClientCapabilities) -> None:
        assert abilities.workspace is not None
        assert abilities.workspace.workspace_edit is not None
        abilities.workspace.workspace_edit.resource_operations = None

    async with running_server(editor.log.parent, Script(), change_capabilities=plain) as other:
        other.open(URI, CODE)
        titles = [one.title for one in await other.actions(URI, _span(0, 5, 0, 5))]
        assert "Simplify (add)" in titles
        assert not [title for title in titles if title.startswith("Add tests")]


async def test_lines_are_extracted_from_the_function_around_them(editor: Editor) -> None:
    new = "def plus(a, b):\n    return a + b\n\ndef add(a, b):\n    return plus(a, b)"
    editor.plan(Script(edits=(PlannedEdit(CODE.replace("\r\n", "\n").rstrip(), new, "total = a\n    total += b"),)))
    editor.open(URI, CODE)
    action = await _titled(editor, _span(1, 0, 3, 0), "Extract", [types.CodeActionKind.Refactor])
    assert action.kind == types.CodeActionKind.RefactorExtract
    resolved = await editor.client.code_action_resolve_async(action)
    assert resolved.edit is not None, editor.messages
    (call,) = editor.calls("edit")
    assert (call["start"], call["end"]) == (0, len(CODE.replace("\r\n", "\n").rstrip()))
    assert not [one for one in await editor.actions(URI, _span(1, 0, 1, 5)) if one.title.startswith("Extract")]


async def test_a_file_that_does_not_parse_can_be_repaired(editor: Editor) -> None:
    broken = CODE.replace("(a, b):", "(a, b:")
    editor.plan(Script(edits=(PlannedEdit("(a, b:", "(a, b):", "Repair"),)))
    editor.open(URI, broken)
    action = await _titled(editor, _span(3, 0, 3, 0), "Repair this file", [types.CodeActionKind.QuickFix])
    resolved = await editor.client.code_action_resolve_async(action)
    assert resolved.edit is not None, editor.messages
    editor.replace_text(URI, CODE)
    assert not [one for one in await editor.actions(URI, _span(3, 0, 3, 0)) if one.title.startswith("Repair")]
