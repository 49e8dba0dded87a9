"""Random sequences of editor messages: no hang, no crash, and the server's buffer is the editor's."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from seedls.positions import LineText, to_position
from seedls.protocol import COPILOT_INLINE_EDIT, NEXT_EDIT
from tests.seedls.texts import PIECES
from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import Editor, running_server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]
CONFIGURATION = {
    "context": {"prefixCharacters": 100_000, "suffixCharacters": 100_000},
    "completion": {"debounceMs": 1, "debounceMaxMs": 1},
}
PLAN = Script(completions=(PlannedCompletion("x = 1", delay_s=0.01),), edits=(PlannedEdit("a", "b", delay_s=0.02),))
NUM_DOCUMENTS = 3


class Typist:
    """An editor that does random things and knows what its buffers hold."""

    def __init__(self, editor: Editor, seed: int) -> None:
        self.editor = editor
        self.random = random.Random(seed)
        self.buffers: dict[str, str] = {}
        self.pending: list[asyncio.Future[Any]] = []
        self.num_asked = 0

    def _text(self, most: int) -> str:
        return "".join(self.random.choice(PIECES) for _ in range(self.random.randrange(most)))

    def _uri(self) -> str:
        uri = f"file:///w/{self.random.randrange(NUM_DOCUMENTS)}.py"
        if uri not in self.buffers:
            self.buffers[uri] = self._text(30)
            self.editor.open(uri, self.buffers[uri])
        return uri

    def _offset(self, text: str) -> int:
        offset = self.random.randrange(len(text) + 1)
        return offset - 1 if 0 < offset < len(text) and text[offset - 1 : offset + 1] == "\r\n" else offset

    def _position(self, uri: str, offset: int) -> types.Position:
        return to_position(LineText.from_text(self.buffers[uri]), offset, "utf-16")

    def _span(self, uri: str) -> tuple[int, int, types.Range]:
        start, end = sorted((self._offset(self.buffers[uri]), self._offset(self.buffers[uri])))
        return start, end, types.Range(self._position(uri, start), self._position(uri, end))

    async def step(self) -> None:
        """One random action."""
        actions = (
            [self._type] * 6
            + [self._ask] * 4
            + [
                *(self._act, self._close, self._nonsense, self._settle),
                *(self._follow, self._accept),
            ]
        )
        self.random.choice(actions)()
        if self.random.random() < 0.4:
            await asyncio.sleep(0)

    def _type(self) -> None:
        uri = self._uri()
        text, new = self.buffers[uri], self._text(5)
        if self.random.random() < 0.05:
            self.buffers[uri] = new
            self.editor.replace_text(uri, new)
            return
        start, end, span = self._span(uri)
        if end - start > 6:
            end, span = start, types.Range(span.start, span.start)
        self.buffers[uri] = text[:start] + new + text[end:]
        self.editor.replace_range(uri, span, new)

    def _later(self, answer: Awaitable[Any]) -> None:
        self.pending.append(asyncio.ensure_future(answer))

    def _ask(self) -> None:
        uri = self._uri()
        place = self._position(uri, self._offset(self.buffers[uri]))
        kind = self.random.choice(list(types.InlineCompletionTriggerKind))
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(kind), types.TextDocumentIdentifier(uri), place
        )
        self.num_asked += 1
        msg_id = f"ask-{id(self)}-{self.num_asked}"
        self._later(self.editor.send_now(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id))
        if self.random.random() < 0.2:
            self.editor.client.cancel_request(types.CancelParams(msg_id))

    def _act(self) -> None:
        uri = self._uri()
        self._later(self._resolve(uri, self._span(uri)[2]))

    async def _resolve(self, uri: str, span: types.Range) -> None:
        actions = await self.editor.actions(uri, span)
        if actions and not actions[0].disabled:
            await self.editor.client.code_action_resolve_async(actions[0])

    def _follow(self) -> None:
        uri = self._uri()
        place = self._position(uri, self._offset(self.buffers[uri]))
        params = {"textDocument": {"uri": uri}, "position": {"line": place.line, "character": place.character}}
        self._later(self.editor.raw_request(self.random.choice([NEXT_EDIT, COPILOT_INLINE_EDIT]), params))

    def _accept(self) -> None:
        self._later(self.editor.command("seedls.accepted", self.random.choice(["", "no-such-id"])))

    def _close(self) -> None:
        uri = self._uri()
        del self.buffers[uri]
        identifier = types.TextDocumentIdentifier(uri)
        self.editor.client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))

    def _nonsense(self) -> None:
        send = self.editor.client.protocol._send_data
        method = self.random.choice(["textDocument/didChange", "textDocument/didOpen", "x/y", "$/cancelRequest"])
        params = self.random.choice([None, [], {"textDocument": {"uri": "file:///w/0.py"}}, {"id": "nothing"}])
        send({"jsonrpc": "2.0", "method": method, "params": params})

    def _settle(self) -> None:
        self._later(self.editor.command("seedls.explainLast"))

    async def check(self) -> None:
        """Every request is answered, and the model would be shown exactly the editor's text."""
        await asyncio.wait_for(asyncio.gather(*self.pending, return_exceptions=True), 30)
        self.pending.clear()
        for uri, text in self.buffers.items():
            # A line that no earlier suggestion can have been shown for.
            mark = f"\nq{self.random.randrange(10**9)} = "
            end = self._position(uri, len(text))
            self.editor.replace_range(uri, types.Range(end, end), mark)
            self.editor.record.unlink(missing_ok=True)
            line = len(LineText.from_text(text + mark).lines) - 1
            await self.editor.inline(uri, line, len(mark), invoked=True)
            # A call that was cancelled a moment ago may still be ending.
            (call,) = [call for call in self.editor.calls("complete") if call["prefix"].endswith(mark)]
            assert call["prefix"] + call["suffix"] == (text + mark).replace("\r\n", "\n").replace("\r", "\n")


async def _type_for(tmp_path: Path, seconds: float, seed: int) -> int:
    """Random typing for a while; the number of rounds."""
    rounds = 0
    limit = time.monotonic() + seconds
    async with running_server(tmp_path, PLAN, configuration=CONFIGURATION) as editor:
        while time.monotonic() < limit or rounds < 3:
            typist = Typist(editor, seed + rounds)
            for _ in range(60):
                await typist.step()
            await typist.check()
            for uri in typist.buffers:
                identifier = types.TextDocumentIdentifier(uri)
                editor.client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))
            rounds += 1
        assert await editor.state() == "ready"
        assert not [line for line in editor.messages if "Error in server" in line]
        assert " failed: " not in editor.log.read_text(encoding="utf-8")
    return rounds


async def test_a_few_seconds_of_random_typing(tmp_path: Path) -> None:
    assert await _type_for(tmp_path, 2, seed=1) >= 3


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_minutes_of_random_typing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    assert await _type_for(tmp_path, 600, seed) > 100
