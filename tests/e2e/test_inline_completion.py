"""textDocument/inlineCompletion over a real pipe: encodings, cancelling, newest wins, staleness, odd files."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from lsprotocol import types

from tests.support.fake_engine import PlannedCompletion, Script
from tests.support.lsp_client import Editor, running_server, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
URI = "file:///w/a.py"
CODE = "def add(a, b):\n    \n"
ANSWER = Script(completions=(PlannedCompletion("return a + b"),))
SLOW = PlannedCompletion("slow", delay_s=20)


@pytest.mark.parametrize("client", ["vscode", "neovim", "emacs"])
async def test_the_cursor_behind_an_emoji_is_found_in_every_encoding(tmp_path: Path, client: str) -> None:
    line = "greeting = '漢👋' + "
    width = len(line.encode({"vscode": "utf-16-le", "neovim": "utf-8", "emacs": "utf-32-le"}[client]))
    column = width // {"vscode": 2, "neovim": 1, "emacs": 4}[client]
    script = Script(completions=(PlannedCompletion("name", after=line),))
    async with running_server(tmp_path, script, client) as editor:
        answer = await editor.inline(editor.open(URI, f"name = 1\n{line}\nx = 2\n"), 1, column)
        (item,) = answer.items
        place = types.Position(1, column)
        assert (item.insert_text, item.range) == ("name", types.Range(place, place))
        assert item.command.command == "seedls.accepted"
        (call,) = editor.calls("complete")
        assert (call["prefix"], call["suffix"]) == (f"name = 1\n{line}", "\nx = 2\n")
        assert call["path"] == "a.py"


async def test_cancelling_stops_the_model_and_is_answered_at_once(editor: Editor) -> None:
    editor.plan(Script(completions=(SLOW,)))
    uri = editor.open(URI, CODE)
    request = _send(editor, uri, "c1")
    await asyncio.sleep(0.3)
    started = time.monotonic()
    editor.client.cancel_request(types.CancelParams("c1"))
    with pytest.raises(Exception, match="cancel"):
        await request
    await wait_until(lambda: editor.calls("complete"))
    (call,) = editor.calls("complete")
    assert call["was_stopped"] is True
    assert time.monotonic() - started < 1
    assert (await editor.explain())["outcome"] == "cancelled"


def _send(editor: Editor, uri: str, msg_id: str) -> asyncio.Future[object]:
    params = types.InlineCompletionParams(
        types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked),
        types.TextDocumentIdentifier(uri),
        types.Position(1, 4),
    )
    return editor.send_now(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id)


async def test_the_newest_request_of_a_document_wins(tmp_path: Path) -> None:
    script = Script(completions=(PlannedCompletion("late", after="    ", delay_s=20), PlannedCompletion("new")))
    async with running_server(tmp_path, script) as editor:
        uri = editor.open(URI, CODE)
        older = [editor.inline(uri, 1, 4, invoked=True) for _ in range(3)]
        await asyncio.sleep(0.2)
        started = time.monotonic()
        assert await editor.inline_texts(uri, 2, 0, invoked=True) == ["new"]
        assert await asyncio.gather(*older) == [None, None, None]  # null, not an error
        assert time.monotonic() - started < 2
        assert (await editor.command("seedls.status"))["counters"]["inlineCompletion.superseded"] == 3


async def test_an_answer_for_an_older_version_is_dropped_and_then_reused(editor: Editor) -> None:
    script = Script(completions=(PlannedCompletion("return a + b", after="    ", delay_s=0.4),))
    editor.plan(script)
    uri = editor.open(URI, CODE)
    request = editor.inline(uri, 1, 4, invoked=True)
    await asyncio.sleep(0.1)
    at = types.Range(types.Position(1, 4), types.Position(1, 4))
    editor.replace_range(uri, at, "ret")
    assert await request is None
    assert (await editor.explain())["outcome"] == "stale"
    # The user typed the beginning of it: the rest needs no model.
    assert await editor.inline_texts(uri, 1, 7) == ["urn a + b"]
    assert len(editor.calls("complete")) == 1


async def test_typing_into_a_suggestion_keeps_it_without_the_model(editor: Editor) -> None:
    editor.plan(ANSWER)
    uri = editor.open(URI, CODE)
    assert await editor.inline_texts(uri, 1, 4) == ["return a + b"]
    for idx, character in enumerate("return"):
        place = types.Position(1, 4 + idx)
        editor.replace_range(uri, types.Range(place, place), character)
        assert await editor.inline_texts(uri, 1, 5 + idx) == ["return a + b"[idx + 1 :]]
    assert len(editor.calls("complete")) == 1


async def test_windows_line_endings_are_kept(editor: Editor) -> None:
    script = Script(completions=(PlannedCompletion("total = a\n    return total", after="    "),))
    editor.plan(script)
    uri = editor.open(URI, "def f(a):\r\n    \r\nx = 1\r\n")
    assert await editor.inline_texts(uri, 1, 4) == ["total = a\r\n    return total"]
    (call,) = editor.calls("complete")
    assert "\r" not in call["prefix"] + call["suffix"]


async def test_the_selected_menu_entry_is_extended(editor: Editor) -> None:
    script = Script(completions=(PlannedCompletion("(a, b)", after="    print"),))
    editor.plan(script)
    uri = editor.open(URI, "def add(a, b):\n    pr\n")
    typed = types.Range(types.Position(1, 4), types.Position(1, 6))
    selected = types.SelectedCompletionInfo(range=typed, text="print")
    answer = await editor.inline(uri, 1, 6, selected_completion_info=selected)
    (item,) = answer.items
    assert (item.insert_text, item.range) == ("print(a, b)", typed)
    assert item.filter_text is None  # clients then filter by the text itself, which begins with what the range holds
    assert item.insert_text.startswith("pr")


async def test_a_visual_selection_sent_as_menu_entry_is_ignored(tmp_path: Path) -> None:
    async with running_server(tmp_path, ANSWER, "neovim") as editor:
        uri = editor.open(URI, CODE)
        span = types.Range(types.Position(0, 4), types.Position(0, 7))
        selected = types.SelectedCompletionInfo(range=span, text="add")
        answer = await editor.inline(uri, 1, 4, invoked=True, selected_completion_info=selected)
        assert [item.insert_text for item in answer.items] == ["return a + b"]


async def test_several_candidates_when_asked_for(editor: Editor) -> None:
    editor.plan(Script(completions=(PlannedCompletion("return a + b", others=("return a + b", "return b + a", "((")),)))
    assert await editor.inline_texts(editor.open("file:///w/b.py", CODE), 1, 4) == ["return a + b"]
    assert editor.calls("candidates") == []  # nobody asked
    await editor.configure({"completion": {"candidates": 4}})
    uri = editor.open(URI, CODE)
    # Equal ones are joined, and each passes the filters by itself.
    assert await editor.inline_texts(uri, 1, 4, invoked=True) == ["return a + b", "return b + a"]
    (call,) = editor.calls("candidates")
    assert (call["count"], call["draft"]) == (4, "return a + b")


async def test_what_was_shown_is_the_draft_after_a_deviation(editor: Editor) -> None:
    editor.plan(ANSWER)
    uri = editor.open(URI, CODE)
    assert await editor.inline_texts(uri, 1, 4) == ["return a + b"]
    place = types.Range(types.Position(1, 4), types.Position(1, 4))
    editor.replace_range(uri, place, "return b")
    await editor.inline_texts(uri, 1, 12)
    assert [call["draft"] for call in editor.calls("complete")] == ["", " + b"]


@pytest.mark.parametrize(
    ("name", "text", "line", "character"),
    [
        ("empty file", "", 0, 0),
        ("past the last line", CODE, 99, 99),
        ("past the end of a line", CODE, 0, 999),
        ("no final newline", "x = ", 0, 4),
        ("form feed and separators", "a\x0c\u2028\x85b\nc = ", 1, 4),
        ("lone surrogate", "x = '\ud83d'\ny = ", 1, 4),
        ("nothing but CR", "a\rb\r", 2, 0),
    ],
)
async def test_odd_texts_are_answered(editor: Editor, name: str, text: str, line: int, character: int) -> None:
    editor.plan(Script(completions=(PlannedCompletion("done"),)))
    answer = await editor.inline(editor.open(URI, text), line, character, invoked=True)
    assert answer is None or answer.items[0].insert_text == "done"
    assert (await editor.explain())["outcome"] in ("shown", "quiet")


async def test_a_binary_file_is_left_alone(editor: Editor) -> None:
    editor.plan(ANSWER)
    assert await editor.inline(editor.open(URI, "\0\x01PNG"), 0, 2, invoked=True) is None
    assert (await editor.explain())["reason"] == "the file is binary"
    assert editor.calls("complete") == []


async def test_a_file_of_50_000_lines_stays_in_step_and_fast(editor: Editor) -> None:
    lines = [f"value_{number} = compute({number})\n" for number in range(50_000)]
    script = Script(completions=(PlannedCompletion("42", after="answer = "),))
    editor.plan(script)
    uri = editor.open(URI, "".join(lines))
    for idx, character in enumerate("answer = "):
        place = types.Position(40_000, idx)
        editor.replace_range(uri, types.Range(place, place), character)
    place = types.Position(40_000, 9)
    editor.replace_range(uri, types.Range(place, place), "\n")
    await editor.state()
    started = time.monotonic()
    assert await editor.inline_texts(uri, 40_000, 9) == ["42"]
    assert time.monotonic() - started < 3
    (call,) = editor.calls("complete")
    assert call["prefix"].endswith("value_39999 = compute(39999)\nanswer = ")
    assert call["suffix"].startswith("\nvalue_40000 = compute(40000)\n")


@pytest.mark.parametrize(
    ("configuration", "invoked", "reason"),
    [
        ({"completion": {"mode": "subtle"}}, False, "completion.mode is subtle and nobody asked"),
        ({"completion": {"enabled": False}}, True, "completion.enabled is false"),
        ({"completion": {"disabledLanguages": ["python"]}}, True, "completions are off for language 'python'"),
        ({"exclude": ["*/a.py"]}, True, "the file is excluded"),
    ],
)
async def test_every_silence_has_its_reason(
    editor: Editor, configuration: dict[str, object], invoked: bool, reason: str
) -> None:
    editor.plan(ANSWER)
    await editor.configure(configuration)
    assert await editor.inline(editor.open(URI, CODE), 1, 4, invoked=invoked) is None
    assert (await editor.explain())["reason"] == reason
    assert editor.calls("complete") == []


async def test_subtle_answers_when_asked(editor: Editor) -> None:
    editor.plan(ANSWER)
    await editor.configure({"completion": {"mode": "subtle"}})
    assert await editor.inline_texts(editor.open(URI, CODE), 1, 4, invoked=True) == ["return a + b"]


async def test_quiet_in_comments_and_when_not_sure(editor: Editor) -> None:
    unsure = Script(completions=(PlannedCompletion("guess", confidence=0.1),))
    editor.plan(unsure)
    uri = editor.open(URI, "# a comment\nx = \n")
    assert await editor.inline(uri, 0, 11) is None
    assert (await editor.explain())["reason"] == "the cursor is in a comment"
    assert await editor.inline(uri, 1, 4) is None
    assert (await editor.explain())["reason"] == "the model was not sure enough (0.10 < 0.35)"


@pytest.mark.parametrize("text", ["", "\n\n", " \t\r\n"])
async def test_an_empty_file_gives_nothing_to_go_by_unless_asked(editor: Editor, text: str) -> None:
    editor.plan(Script(completions=(PlannedCompletion("import os"),)))
    uri = editor.open(URI, text)
    assert await editor.inline(uri, 0, 0) is None
    assert (await editor.explain())["reason"] == "the file is empty: there is nothing to go by"
    assert editor.calls("complete") == []
    assert await editor.inline_texts(uri, 0, 0, invoked=True) == ["import os"]


async def test_old_trigger_kinds_are_understood_and_unreadable_requests_answered(tmp_path: Path) -> None:
    async with running_server(tmp_path, ANSWER, configuration={"completion": {"mode": "subtle"}}) as editor:
        uri = editor.open(URI, CODE)
        method = types.TEXT_DOCUMENT_INLINE_COMPLETION
        raw = {"textDocument": {"uri": uri}, "position": {"line": 1, "character": 4}, "context": {"triggerKind": 0}}
        answer = await editor.raw_request(method, raw)
        assert answer.items[0].insertText == "return a + b"  # 0 is Invoked: subtle mode answers
        assert (
            await editor.raw_request(method, {**raw, "context": {"triggerKind": 1}}) is None
        )  # and 1 is then Automatic
        with pytest.raises(Exception, match="Invalid Params"):
            await asyncio.wait_for(editor.raw_request(method, {**raw, "position": "nowhere"}), 5)
        assert editor.messages == []


async def test_accepted_completions_are_counted(tmp_path: Path) -> None:
    async with running_server(tmp_path, ANSWER) as editor:
        answer = await editor.inline(editor.open(URI, CODE), 1, 4)
        command = answer.items[0].command
        await editor.command(command.command, *command.arguments)
        assert (await editor.command("seedls.status"))["counters"]["accepted"] == 1
        assert "1 shown, 1 accepted" in editor.messages[-1]


async def test_clients_without_inline_completion_get_marked_menu_entries(tmp_path: Path) -> None:
    async with running_server(tmp_path, ANSWER, "emacs") as editor:
        uri = editor.open(URI, CODE)
        context = types.CompletionContext(types.CompletionTriggerKind.Invoked)
        params = types.CompletionParams(types.TextDocumentIdentifier(uri), types.Position(1, 4), context=context)
        answer = await editor.client.text_document_completion_async(params)
        assert isinstance(answer, types.CompletionList)
        (item,) = answer.items
        assert (item.label, item.detail, item.preselect) == ("return a + b", "seedls", None)
        assert item.sort_text is not None
        assert item.sort_text.startswith("~")
        place = types.Position(1, 4)
        assert item.text_edit == types.TextEdit(types.Range(place, place), "return a + b")


async def test_a_hundred_documents_and_a_flood_of_changes(editor: Editor) -> None:
    editor.plan(ANSWER)
    uris = [editor.open(f"file:///w/f{number}.py", CODE) for number in range(100)]
    place = types.Range(types.Position(1, 4), types.Position(1, 4))
    for _ in range(10):
        for uri in uris:
            editor.replace_range(uri, place, " ")
    assert await editor.inline_texts(uris[-1], 1, 14, invoked=True) == ["return a + b"]
    (call,) = editor.calls("complete")
    assert call["prefix"] == "def add(a, b):\n" + " " * 14
