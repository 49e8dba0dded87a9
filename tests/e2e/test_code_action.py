"""textDocument/codeAction, codeAction/resolve and seedls.applyAction over a real pipe; what is never offered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from seedls.positions import LineText, to_offset
from tests.support.fake_engine import PlannedEdit, Script
from tests.support.lsp_client import Editor, running_server, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
URI = "file:///w/a.py"
CODE = "# 漢👋\r\ndef add(a, b):\r\n    return a + b\r\n\r\nprint(add(1, 2))\r\n"
HINTS = PlannedEdit("add(a, b):", "add(a: int, b: int) -> int:", "type hints")


def _span(first: int, start: int, last: int, end: int) -> types.Range:
    return types.Range(types.Position(first, start), types.Position(last, end))


FUNCTION = _span(1, 0, 2, 16)


async def _resolved(editor: Editor, uri: str, span: types.Range, title: str) -> types.CodeAction:
    actions = await editor.actions(uri, span)
    (action,) = [one for one in actions if one.title.startswith(title)]
    return await editor.client.code_action_resolve_async(action)


def _applied(text: str, edit: types.WorkspaceEdit | None, encoding: Any = "utf-16") -> str:
    """The text as an editor has it afterwards, from either form of edit."""
    assert edit is not None
    if edit.changes is not None:
        edits: Any = edit.changes[URI]
    else:
        assert edit.document_changes is not None
        edits = edit.document_changes[0].edits  # type: ignore[union-attr]
    content = LineText.from_text(text)
    for one in reversed(edits):
        start, end = (to_offset(content, place, encoding) for place in (one.range.start, one.range.end))
        text = text[:start] + one.new_text + text[end:]
    return text


@pytest.mark.parametrize(("client", "encoding"), [("vscode", "utf-16"), ("neovim", "utf-8"), ("neovim-0.11", "utf-8")])
async def test_a_refactoring_changes_what_it_should_and_nothing_else(
    tmp_path: Path, client: str, encoding: str
) -> None:
    async with running_server(tmp_path, Script(edits=(HINTS,)), client) as editor:
        uri = editor.open(URI, CODE, version=3)
        action = await _resolved(editor, uri, FUNCTION, "Add type hints")
        expected = CODE.replace("add(a, b):", "add(a: int, b: int) -> int:")
        assert _applied(CODE, action.edit, encoding) == expected
        assert action.edit is not None
        assert action.edit.document_changes is not None
        document = action.edit.document_changes[0]
        assert isinstance(document, types.TextDocumentEdit)
        assert document.text_document.version == 3
        if client in ("vscode", "neovim"):
            assert all(isinstance(one, types.AnnotatedTextEdit) for one in document.edits)
            assert action.edit.change_annotations is not None
            assert {one.needs_confirmation for one in action.edit.change_annotations.values()} == {True}
        else:
            assert action.edit.change_annotations is None
            assert not any(isinstance(one, types.AnnotatedTextEdit) for one in document.edits)
        assert editor.messages == []


async def test_a_caret_in_a_function_offers_the_whole_function(editor: Editor) -> None:
    editor.plan(Script(edits=(HINTS,)))
    uri = editor.open(URI, CODE)
    titles = [action.title for action in await editor.actions(uri, _span(2, 8, 2, 8))]
    assert titles[:3] == ["Add type hints (add)", "Add a docstring (add)", "Simplify (add)"]
    assert {"Handle errors (add)", "Rename for clarity (add)", "Explain as a comment (add)"} <= set(titles)
    action = await _resolved(editor, uri, _span(2, 8, 2, 8), "Add type hints")
    assert "add(a: int, b: int) -> int:" in _applied(CODE, action.edit)
    assert await editor.actions(uri, _span(4, 0, 4, 0)) == []


async def test_offering_is_cheap_and_runs_no_model(editor: Editor) -> None:
    editor.plan(Script(edits=(HINTS,)))
    uri = editor.open(URI, CODE + "def f(a):\r\n    return a\r\n\r\n" * 2500)
    await editor.actions(uri, FUNCTION)
    started = time.monotonic()
    for line in range(50):
        await editor.actions(uri, _span(line, 0, line, 0))
    assert (time.monotonic() - started) / 50 < 0.1
    assert editor.calls("edit") == []


@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        (None, {"refactor.rewrite", "quickfix"}),
        ([types.CodeActionKind.Refactor], {"refactor.rewrite"}),
        ([types.CodeActionKind.RefactorRewrite], {"refactor.rewrite"}),
        ([types.CodeActionKind.QuickFix], {"quickfix"}),
        ([types.CodeActionKind.Source], set()),
        (["refactor.rew"], set()),
    ],
)
async def test_only_the_wanted_kinds(editor: Editor, only: Any, kinds: set[str]) -> None:
    problem = types.Diagnostic(_span(2, 4, 2, 16), "bad")
    editor.plan(Script())
    actions = await editor.actions(editor.open(URI, CODE), FUNCTION, only, [problem])
    assert {str(getattr(action.kind, "value", action.kind)) for action in actions} == kinds


async def test_a_fix_tells_the_model_the_problem(editor: Editor) -> None:
    fix = PlannedEdit("a + b", "a * b", "reported problem")
    problem = types.Diagnostic(_span(2, 11, 2, 16), "Wrong operator\nreally")
    editor.plan(Script(edits=(fix,)))
    uri = editor.open(URI, CODE)
    (action,) = await editor.actions(uri, _span(2, 11, 2, 11), [types.CodeActionKind.QuickFix], [problem])
    assert action.title == "Fix: Wrong operator really"
    assert action.diagnostics == (problem,) or action.diagnostics == [problem]
    resolved = await editor.client.code_action_resolve_async(action)
    assert _applied(CODE, resolved.edit) == CODE.replace("a + b", "a * b")
    (call,) = editor.calls("edit")
    assert call["diagnostics"] == ["Wrong operator\nreally"]


OLD = CODE.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("planned", "reason"),
    [
        (PlannedEdit("nothing", "like it"), "the model found nothing to change"),
        (PlannedEdit("return a + b", "return (a +"), "the answer would add a syntax error"),
        (PlannedEdit(whole_text=OLD.replace("print", "exec")), "the answer touched text outside the selection"),
        (PlannedEdit(whole_text="x"), "the answer touched text outside the selection"),
        (PlannedEdit(OLD[5:36], "\n"), "the answer would delete the selection"),
        (PlannedEdit("a + b", "b", finish_reason="length"), "the model did not finish (length)"),
        (PlannedEdit("a + b", "b", finish_reason="deadline"), "the model did not finish (deadline)"),
        (PlannedEdit(error="request"), "the request was refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_never_offered(editor: Editor, planned: PlannedEdit, reason: str) -> None:
    editor.plan(Script(edits=(planned,)))
    action = await _resolved(editor, editor.open(URI, CODE), FUNCTION, "Simplify")
    assert action.edit is None
    assert editor.messages == [f"seedls: Simplify (selection): {reason}"]
    assert (await editor.explain())["reason"] == reason


async def test_an_edit_that_undoes_the_last_one_is_not_offered(editor: Editor) -> None:
    editor.plan(Script(edits=(PlannedEdit("a * b", "a + b"),)))
    uri = editor.open(URI, CODE)
    editor.replace_range(uri, _span(2, 13, 2, 14), "*")
    action = await _resolved(editor, uri, FUNCTION, "Simplify")
    assert action.edit is None
    assert "undo your last edit" in editor.messages[0]


@pytest.mark.parametrize(
    ("typed_at", "expected"),
    [
        (_span(0, 0, 0, 0), "moved"),
        (_span(4, 0, 4, 0), "moved"),
        (_span(1, 9, 1, 9), "dropped"),
    ],
)
async def test_typing_while_the_model_works(editor: Editor, typed_at: types.Range, expected: str) -> None:
    slow = PlannedEdit("(a, b)", "(a: int, b: int)", delay_s=0.5)
    editor.plan(Script(edits=(slow,)))
    uri = editor.open(URI, CODE, version=1)
    task = asyncio.ensure_future(_resolved(editor, uri, FUNCTION, "Add type hints"))
    await asyncio.sleep(0.25)
    editor.replace_range(uri, typed_at, "z9 = 1\r\n" if expected == "moved" else "z, ")
    action = await task
    if expected == "dropped":
        assert action.edit is None
        assert "changed in the same place" in editor.messages[0]
        return
    content = LineText.from_text(CODE)
    at = to_offset(content, typed_at.start, "utf-16")
    typed = CODE[:at] + "z9 = 1\r\n" + CODE[at:]
    assert _applied(typed, action.edit) == typed.replace("(a, b)", "(a: int, b: int)")
    assert action.edit is not None
    assert action.edit.document_changes is not None
    assert action.edit.document_changes[0].text_document.version == 4  # type: ignore[union-attr]


async def test_an_action_of_a_forgotten_version_is_refused(editor: Editor) -> None:
    editor.plan(Script(edits=(HINTS,)))
    uri = editor.open(URI, CODE)
    action = (await editor.actions(uri, FUNCTION))[0]
    for _ in range(5):
        editor.replace_range(uri, _span(4, 0, 4, 0), " ")
    assert (await editor.client.code_action_resolve_async(action)).edit is None
    assert "changed since the action was offered" in editor.messages[0]
    action.data = {"uri": uri, "version": "one"}
    assert (await editor.client.code_action_resolve_async(action)).edit is None
    assert "failed; see the log" in editor.messages[1]


async def test_clients_that_cannot_resolve_get_a_command_that_applies_the_edit(tmp_path: Path) -> None:
    async with running_server(tmp_path, Script(edits=(HINTS,)), "emacs") as editor:
        uri = editor.open(URI, CODE)
        wanted = types.CodeActionParams(types.TextDocumentIdentifier(uri), FUNCTION, types.CodeActionContext([]))
        action = (await editor.raw_request(types.TEXT_DOCUMENT_CODE_ACTION, wanted))[0]
        assert "data" not in action
        assert action["command"]["command"] == "seedls.applyAction"
        assert await editor.command("seedls.applyAction", *action["command"]["arguments"]) is True
        (edit,) = editor.applied
        assert _applied(CODE, edit, "utf-32") == CODE.replace("add(a, b):", "add(a: int, b: int) -> int:")
        assert await editor.command("seedls.applyAction", {"uri": 1}) is False


async def test_a_running_rewrite_shows_progress_and_can_be_cancelled(editor: Editor) -> None:
    editor.plan(Script(edits=(PlannedEdit("a", "b", delay_s=20),)))
    uri = editor.open(URI, CODE)
    before = set(editor.client.progress_reports)
    task = asyncio.ensure_future(_resolved(editor, uri, FUNCTION, "Simplify"))

    def begun() -> list[types.ProgressToken]:
        reports = editor.client.progress_reports
        return [token for token in set(reports) - before if reports[token]]

    await wait_until(begun)
    editor.client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(begun()[0]))
    action = await asyncio.wait_for(task, 5)
    assert action.edit is None
    await wait_until(lambda: editor.calls("edit"))
    assert editor.calls("edit")[0]["was_stopped"] is True


async def test_a_selection_that_is_too_long_says_so(editor: Editor) -> None:
    editor.plan(Script())
    await editor.configure({"edit": {"maxCharacters": 100}})
    uri = editor.open(URI, "x = 1\n" * 100)
    actions = await editor.actions(uri, _span(0, 0, 99, 0))
    assert {action.disabled.reason if action.disabled else "" for action in actions} == {
        "selection has 594 characters, more than edit.maxCharacters (100)"
    }


async def test_excluded_files_get_nothing(editor: Editor) -> None:
    editor.plan(Script(edits=(HINTS,)))
    uri = editor.open("file:///w/.env.local", "KEY=1\n", "python")
    assert await editor.actions(uri, _span(0, 0, 0, 5)) == []
    assert await editor.inline(uri, 0, 5, invoked=True) is None
