"""The known traps of language servers on pygls, each with the test that shows it is avoided."""

from __future__ import annotations

import ast
import asyncio
import time
from pathlib import Path

import pytest
from lsprotocol import types

from tests.support.fake_engine import PlannedCompletion, Script
from tests.support.lsp_client import ROOT, Editor

INLINE, INITIALIZE, ACTION = "e2e/test_inline_completion.py", "e2e/test_initialize.py", "e2e/test_code_action.py"
HERE = "e2e/test_traps.py"
TRAPS = {
    "a feature registered without options is not announced": (INITIALIZE, "test_what_is_announced"),
    "resolve is not inferred": (INITIALIZE, "test_what_is_announced"),
    "what depends on the client is registered before the capabilities are built": (
        INITIALIZE,
        "test_what_is_announced",
    ),
    "cancelling a task does not stop a thread": (INLINE, "test_cancelling_stops_the_model_and_is_answered_at_once"),
    "a threaded handler cannot be cancelled": (HERE, "test_no_handler_runs_on_the_librarys_threads"),
    "requests cancelled in the queue are worked on": (HERE, "test_requests_cancelled_before_they_start_cost_no_model"),
    "a busy pool stops the reader of standard input": (HERE, "test_other_requests_are_answered_while_the_model_works"),
    "a thread for each request": ("seedls/test_scheduler.py", "test_all_work_runs_on_one_thread"),
    "triggerKind 0 gets no reply": (INLINE, "test_old_trigger_kinds_are_understood_and_unreadable_requests_answered"),
    "errors are logged with tracebacks": (HERE, "test_ordinary_ends_of_requests_are_no_errors"),
    "an error reply shows a popup or fills a log": (INLINE, "test_the_newest_request_of_a_document_wins"),
    "lines are split at form feeds and U+2028": (INLINE, "test_odd_texts_are_answered"),
    "incremental sync drifts": ("e2e/test_message_sequences.py", "test_a_few_seconds_of_random_typing"),
    "an empty document has no position": ("seedls/test_positions.py", "test_the_empty_text_has_one_position"),
    "a change costs a split of the whole text": (INLINE, "test_a_file_of_50_000_lines_stays_in_step_and_fast"),
    "a keystroke costs a parse of the whole text": (
        "seedls/test_suggestions.py",
        "test_a_keystroke_in_a_file_of_10_000_lines_parses_a_part_of_it",
    ),
    "a message is read in three changes of thread": (
        "seedls/test_message_reader.py",
        "test_messages_are_read_ahead_on_one_thread_and_no_further_than_agreed",
    ),
    "builtins of the library cannot be replaced by a decorator": (
        "seedls/test_connection.py",
        "test_changes_of_a_document_that_is_not_open_are_ignored",
    ),
    "a log in the workspace is a change that is logged": (
        "seedls/test_workspace.py",
        "test_a_log_in_the_folder_does_not_feed_itself",
    ),
    "a missing token that the grammar hides is no error node": ("seedls/test_syntax.py", "test_errors"),
    "accepting a part asks the model again": (INLINE, "test_typing_into_a_suggestion_keeps_it_without_the_model"),
    "the model is exchanged while it works": (INITIALIZE, "test_another_model_is_loaded_under_load"),
    "messages are logged whole": (INITIALIZE, "test_no_text_of_the_user_reaches_the_log"),
    "characters are not code units": (INLINE, "test_the_cursor_behind_an_emoji_is_found_in_every_encoding"),
    "a second client overwrites the first": ("seedls/test_cli_serve.py", "test_tcp_serves_one_client_and_ends"),
    "shutdown waits for the pool": (INITIALIZE, "test_the_process_ends_promptly_while_the_model_works"),
    "capabilities are not asked": ("seedls/test_session.py", "test_what_three_editors_can_do"),
    "annotations choke older editors": (ACTION, "test_a_refactoring_changes_what_it_should_and_nothing_else"),
    "a missing range is the word for one editor and nothing for another": (
        INLINE,
        "test_the_cursor_behind_an_emoji_is_found_in_every_encoding",
    ),
    "the selected menu entry is not extended": (INLINE, "test_the_selected_menu_entry_is_extended"),
    "a visual selection comes as a menu entry": (INLINE, "test_a_visual_selection_sent_as_menu_entry_is_ignored"),
    "superseded requests are not cancelled by the client": (INLINE, "test_the_newest_request_of_a_document_wins"),
    "stale answers are shown": (INLINE, "test_an_answer_for_an_older_version_is_dropped_and_then_reused"),
    "carriage returns in ghost text": (INLINE, "test_windows_line_endings_are_kept"),
    "template tokens leak": ("seedls/test_completion_filters.py", "test_template_tokens_never_leak"),
    "closers come twice": ("seedls/test_completion_filters.py", "test_duplicate_closers"),
    "the suffix is repeated": ("seedls/test_completion_filters.py", "test_repeated_suffix"),
    "indentation of several lines": ("seedls/test_completion_filters.py", "test_indentation"),
    "silence without a reason": (INLINE, "test_every_silence_has_its_reason"),
    "freezes without a network": ("e2e/test_offline.py", "test_no_connection_and_no_file"),
}
URI = "file:///w/a.py"
CODE = "def add(a, b):\n    \n"


@pytest.mark.parametrize(("path", "name"), sorted(set(TRAPS.values())))
def test_each_trap_has_its_test(path: str, name: str) -> None:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert name in functions


def test_no_handler_runs_on_the_librarys_threads() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "seedls").rglob("*.py"))
    assert ".thread()" not in sources
    assert "to_thread" not in sources


@pytest.mark.e2e
@pytest.mark.asyncio(loop_scope="module")
async def test_other_requests_are_answered_while_the_model_works(editor: Editor) -> None:
    editor.plan(Script(completions=(PlannedCompletion("slow", delay_s=20),)))
    uri = editor.open(URI, CODE)
    request = editor.inline(uri, 1, 4, invoked=True)
    await asyncio.sleep(0.3)
    started = time.monotonic()
    for _ in range(5):
        assert await editor.state() == "ready"
        assert await editor.actions(uri, types.Range(types.Position(0, 5), types.Position(0, 5)))
    assert time.monotonic() - started < 5
    assert not request.done()
    editor.replace_range(uri, types.Range(types.Position(1, 4), types.Position(1, 4)), "x")
    editor.plan(Script())
    await editor.inline(uri, 1, 5, invoked=True)
    assert await request is None


@pytest.mark.e2e
@pytest.mark.asyncio(loop_scope="module")
async def test_requests_cancelled_before_they_start_cost_no_model(editor: Editor) -> None:
    editor.plan(Script(completions=(PlannedCompletion("answer"),)))
    uri = editor.open(URI, CODE)
    requests = []
    for number in range(30):
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(types.InlineCompletionTriggerKind.Automatic),
            types.TextDocumentIdentifier(uri),
            types.Position(1, 4),
        )
        requests.append(editor.send_now(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, f"queued-{number}"))
        editor.client.cancel_request(types.CancelParams(f"queued-{number}"))
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert all(answer is None or isinstance(answer, Exception) for answer in answers)
    assert await editor.inline_texts(uri, 1, 4) == ["answer"]
    assert len(editor.calls("complete")) <= 3


@pytest.mark.e2e
@pytest.mark.asyncio(loop_scope="module")
async def test_ordinary_ends_of_requests_are_no_errors(editor: Editor) -> None:
    """Cancelled, superseded, stale and quiet requests leave no traceback and no error in the log."""
    before = editor.log.read_text(encoding="utf-8")
    editor.plan(Script(completions=(PlannedCompletion("slow", delay_s=20),)))
    uri = editor.open(URI, CODE)
    older = editor.inline(uri, 1, 4, invoked=True)
    await asyncio.sleep(0.1)
    editor.plan(Script())
    assert await editor.inline(uri, 0, 3, invoked=True) is None
    assert await older is None
    assert await editor.inline("file:///w/never_opened.py", 0, 0) is None
    new = editor.log.read_text(encoding="utf-8")[len(before) :]
    assert "Traceback" not in new
    assert "ERROR" not in new


def test_the_list_is_long_enough_to_be_the_list() -> None:
    assert len(TRAPS) >= 36
    assert Path(__file__).name == HERE.rpartition("/")[2]
