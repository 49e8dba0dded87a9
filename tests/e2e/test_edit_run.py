"""seedls/editRun over a real pipe: start, step, accept, cancel; versions, checks, progress."""

from __future__ import annotations

from typing import Any

import pytest
from lsprotocol import types

from seedls.positions import LineText, to_offset
from seedls.protocol import EDIT_RUN_ACCEPT, EDIT_RUN_CANCEL, EDIT_RUN_START, EDIT_RUN_STEP
from seedls.wire_values import plain
from tests.support.fake_engine import PlannedEdit, Script
from tests.support.lsp_client import Editor

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
URI = "file:///w/run.py"
CODE = "# 漢👋\r\ndef add(a, b):\r\n\treturn a + b\r\n\r\n\r\ndef sub(a, b):\r\n\treturn a - b\r\n\r\nprint(add(1, 2))"
UNIX = CODE.replace("\r\n", "\n")
HALF = UNIX.replace("def add(a, b):", "def add(a, b, c=0):")
BROKEN = HALF.replace("def sub(a, b):", "def sub(a, b")
WHOLE = HALF.replace("def sub(a, b):", "def sub(a, b, c=0):")
PLAN = PlannedEdit(steps=(UNIX, HALF, BROKEN), step_s=0.005, whole_text=WHOLE)  # more than a step may take


async def ask(editor: Editor, method: str, **params: Any) -> dict[str, Any]:
    return dict(plain(await editor.raw_request(method, params)))


async def begin(editor: Editor, plan: PlannedEdit = PLAN, **more: Any) -> dict[str, Any]:
    editor.plan(Script(edits=(plan,)))
    uri = editor.open(URI, CODE, version=5)
    return await ask(editor, EDIT_RUN_START, uri=uri, instruction="Add a third parameter c.", **more)


async def next_step(editor: Editor, run: str) -> dict[str, Any]:
    return await ask(editor, EDIT_RUN_STEP, run=run, milliseconds=1)


def applied(text: str, edits: list[dict[str, Any]]) -> str:
    content = LineText.from_text(text)
    for one in reversed(edits):
        places = (types.Position(**one["range"][side]) for side in ("start", "end"))
        start, end = (to_offset(content, place, "utf-16") for place in places)
        text = text[:start] + one["newText"] + text[end:]
    return text


async def test_every_step_shows_a_whole_checked_text(editor: Editor) -> None:
    started = await begin(editor)
    assert started["state"] == "running" and started["edits"] == []
    assert editor.calls("edit") == [], "the model waits for the first step"
    seen = []
    state = started
    while state["state"] == "running":
        state = await next_step(editor, started["run"])
        assert state["version"] == 5
        seen.append(applied(CODE, state["edits"]).replace("\r\n", "\n"))
    assert state["state"] == "done" and state["fraction"] == 1.0
    assert set(seen) <= {UNIX, HALF, WHOLE} and seen[-1] == WHOLE and BROKEN not in seen
    assert applied(CODE, state["edits"]).count("\r\n") == CODE.count("\r\n")
    assert len(state["edits"]) == 2, "one minimal edit a change"


async def test_any_step_can_be_accepted(editor: Editor) -> None:
    plan = PlannedEdit(steps=(HALF, BROKEN, BROKEN), step_s=0.02, whole_text=WHOLE)
    run = (await begin(editor, plan))["run"]
    shown = await next_step(editor, run)
    assert shown["state"] == "running" and shown["edits"]
    accepted = await ask(editor, EDIT_RUN_ACCEPT, run=run)
    assert accepted["state"] == "accepted"
    (edit,) = editor.applied
    assert edit.document_changes is not None
    document = edit.document_changes[0]
    assert isinstance(document, types.TextDocumentEdit) and document.text_document.version == 5
    gone = await next_step(editor, run)
    assert gone["state"] == "failed" and "no such edit run" in gone["reason"]


async def test_what_was_typed_meanwhile_stays(editor: Editor) -> None:
    run = (await begin(editor))["run"]
    while (state := await next_step(editor, run))["state"] == "running":
        pass
    typed = types.Range(types.Position(0, 0), types.Position(0, 0))
    editor.replace_range(URI, typed, "import os\r\n")
    state = await next_step(editor, run)
    assert state["version"] == 8
    expected = "import os\r\n" + WHOLE.replace("\n", "\r\n")
    assert applied("import os\r\n" + CODE, state["edits"]) == expected


async def test_typing_into_the_change_makes_the_run_stale(editor: Editor) -> None:
    run = (await begin(editor))["run"]
    while (await next_step(editor, run))["state"] == "running":
        pass
    editor.replace_range(URI, types.Range(types.Position(1, 9), types.Position(1, 12)), "x, y")
    state = await next_step(editor, run)
    assert state["state"] == "stale" and state["edits"] == []
    assert (await ask(editor, EDIT_RUN_ACCEPT, run=run))["state"] == "stale"
    assert editor.applied == []


async def test_a_cancelled_run_applies_nothing(editor: Editor) -> None:
    run = (await begin(editor))["run"]
    await next_step(editor, run)
    assert (await ask(editor, EDIT_RUN_CANCEL, run=run))["state"] == "cancelled"
    assert (await ask(editor, EDIT_RUN_ACCEPT, run=run))["state"] == "failed"
    assert editor.applied == []


async def test_a_new_run_replaces_the_one_before(editor: Editor) -> None:
    first = (await begin(editor))["run"]
    await next_step(editor, first)
    second = (await ask(editor, EDIT_RUN_START, uri=URI, instruction="Again."))["run"]
    assert (await next_step(editor, first))["state"] == "failed"
    assert (await next_step(editor, second))["state"] == "running"


async def test_a_completion_comes_between_two_steps(editor: Editor) -> None:
    run = (await begin(editor))["run"]
    await next_step(editor, run)
    assert await editor.inline_texts(URI, 4, 0) == []
    assert len(editor.calls("complete")) == 1
    assert (await next_step(editor, run))["state"] == "running"


async def test_an_unfinished_run_says_so_and_may_be_taken(editor: Editor) -> None:
    plan = PlannedEdit(steps=(HALF,), whole_text=HALF, finish_reason="length")
    run = (await begin(editor, plan))["run"]
    while (state := await next_step(editor, run))["state"] == "running":
        pass
    assert state["state"] == "stopped" and "did not finish" in state["reason"]
    assert applied(CODE, state["edits"]).replace("\r\n", "\n") == HALF


async def test_range_and_pins_reach_the_model(editor: Editor) -> None:
    where = {"start": {"line": 2, "character": 3}, "end": {"line": 2, "character": 3}}
    head = {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 14}}
    run = (await begin(editor, PlannedEdit("a + b", "b + a"), range=where, pinned=[head]))["run"]
    while (state := await next_step(editor, run))["state"] == "running":
        pass
    (call,) = editor.calls("edit")
    start = UNIX.index("def add")
    assert (call["start"], call["pinned"]) == (start, [[start, start + 14]])
    assert applied(CODE, state["edits"]) == CODE.replace("a + b", "b + a")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"uri": "file:///w/none.py", "instruction": "x"}, "not an open document"),
        ({"uri": URI, "instruction": "  "}, "instruction is empty"),
        ({"uri": URI, "instruction": 3}, "not text"),
        ({"uri": URI, "instruction": "x", "range": {"start": 1}}, "range.start"),
        ({"uri": URI, "instruction": "x", "pinned": 4}, "lists"),
        ({}, "uri is missing"),
    ],
)
async def test_what_cannot_be_started(editor: Editor, params: dict[str, Any], reason: str) -> None:
    editor.open(URI, CODE)
    answer = await ask(editor, EDIT_RUN_START, **params)
    assert answer["state"] == "failed" and reason in answer["reason"]


async def test_progress_is_shown_and_ends(editor: Editor) -> None:
    run = (await begin(editor))["run"]
    while (await next_step(editor, run))["state"] == "running":
        pass
    reports = [report for token in editor.client.progress_reports.values() for report in token]
    kinds = [type(report).__name__ for report in reports]
    assert "WorkDoneProgressBegin" in kinds and "WorkDoneProgressEnd" in kinds


async def test_a_model_that_fails_is_said(editor: Editor) -> None:
    run = (await begin(editor, PlannedEdit("a", "b", error="request")))["run"]
    while (state := await next_step(editor, run))["state"] == "running":
        pass
    assert state["state"] == "failed" and state["reason"] == "the request was refused"
