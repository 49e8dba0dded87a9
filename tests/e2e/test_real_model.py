"""The product as installed, with the default model: `python -m seedls serve --stdio`."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from lsprotocol import types

from seedls.positions import LineText, to_offset
from seedls.syntax import parse
from tests.support.fake_engine import Script
from tests.support.lsp_client import Editor, running_server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.model,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]
# A busy machine must not turn an answer into silence: only correctness is tested here.
PATIENT = {"completion": {"deadlineMs": 60_000}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Editor]:
    """One server: loading takes seconds."""
    command = [sys.executable, "-m", "seedls", "serve", "--stdio"]
    folder = tmp_path_factory.mktemp("real")
    async with running_server(folder, Script(), configuration=PATIENT, command=command, wait_for=None) as editor:
        await editor.wait_for_state("ready", 250)
        yield editor


async def test_it_completes_a_body(editor: Editor) -> None:
    uri = editor.open(
        "file:///w/body.py", "def rectangle_area(width, height):\n    \n\n\nprint(rectangle_area(2, 3))\n"
    )
    texts = await editor.inline_texts(uri, 1, 4, invoked=True)
    assert texts[0] == "return width * height"  # where there was time, other candidates follow
    assert len(set(texts)) == len(texts) <= 3


async def test_it_completes_behind_emoji_in_a_windows_file(editor: Editor) -> None:
    uri = editor.open("file:///w/crlf.py", "# 漢👋\r\nnumbers = [3, 1, 2]\r\nlargest = '👋', max(\r\n")
    answer = await editor.inline(uri, 2, 20, invoked=True)
    if answer is None:
        assert (await editor.explain())["reason"]
        return
    item = answer.items[0]
    assert "numbers" in item.insert_text
    assert item.range == types.Range(types.Position(2, 20), types.Position(2, 20))
    assert "\n" not in item.insert_text.replace("\r\n", "")


async def test_a_rewrite_keeps_its_promises(editor: Editor) -> None:
    text = "x = 1\n\n\ndef add(a, b):\n    return a + b\n\n\ny = 2\n"
    uri = editor.open("file:///w/rewrite.py", text)
    span = types.Range(types.Position(3, 0), types.Position(4, 16))
    num_messages = len(editor.messages)
    actions = await editor.actions(uri, span, [types.CodeActionKind.Refactor])
    few = [one for one in actions if one.title.startswith(("Add type hints", "Add a docstring", "Simplify"))]
    assert len(few) == 3
    for action in few:
        resolved = await editor.client.code_action_resolve_async(action)
        if resolved.edit is None:
            assert len(editor.messages) > num_messages  # silence has its reason
            continue
        assert resolved.edit.document_changes is not None
        edits = resolved.edit.document_changes[0].edits  # type: ignore[union-attr]
        content, new = LineText.from_text(text), text
        for one in reversed(edits):
            assert span.start.line <= one.range.start.line <= one.range.end.line <= span.end.line
            start, end = (to_offset(content, place, "utf-16") for place in (one.range.start, one.range.end))
            new = new[:start] + one.new_text + new[end:]  # type: ignore[union-attr]
        assert new != text
        assert new.startswith("x = 1\n\n\n")
        assert new.endswith("\n\n\ny = 2\n")
        tree = parse("python", new)
        assert tree is not None
        assert tree.count_errors() == 0


async def test_it_answers_again_soon_after_being_cancelled(editor: Editor) -> None:
    body = "".join(f"    value_{number} = compute({number})\n" for number in range(40))
    uri = editor.open("file:///w/cancel.py", f"def work():\n{body}    \n")
    params = types.InlineCompletionParams(
        types.InlineCompletionContext(types.InlineCompletionTriggerKind.Invoked),
        types.TextDocumentIdentifier(uri),
        types.Position(41, 4),
    )
    request = editor.send_now(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, "cancelled")
    await editor.state()  # answered after the request has begun
    editor.client.cancel_request(types.CancelParams("cancelled"))
    started = time.monotonic()
    with pytest.raises(Exception, match="cancel"):
        await request
    assert time.monotonic() - started < 1  # the reply does not wait for the model
    other = editor.open("file:///w/after.py", "def double(number):\n    return \n")
    assert await editor.inline_texts(other, 1, 11, invoked=True)


async def test_status_and_reasons(editor: Editor) -> None:
    status = await editor.command("seedls.status")
    assert status["state"] == "ready"
    assert status["model"] == "coder-0.5b"
    assert (await editor.explain())["reason"]
