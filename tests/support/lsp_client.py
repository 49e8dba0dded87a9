"""A pytest-lsp client on a real subprocess server, with the capabilities that real editors send.

async with running_server(tmp_path, Script(...), client="vscode") as client:
    document = await client.open("file:///w/a.py", "def f|():\\n")
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from lsprotocol.converters import get_converter
from pytest_lsp.client import LanguageClient, make_test_lsp_client

from seedls.protocol import STATE_CHANGED, STATUS
from tests.support.fake_engine import Script

ROOT = Path(__file__).parent.parent.parent
CAPABILITIES = ROOT / "tests" / "support" / "capabilities"


def capabilities_of(client: str) -> types.ClientCapabilities:
    """Recorded capabilities: `vscode` (utf-16), `neovim` (utf-8), `emacs` (utf-32)."""
    raw = json.loads((CAPABILITIES / f"{client}.json").read_text(encoding="utf-8"))
    return get_converter().structure(raw, types.ClientCapabilities)


class Editor:
    """What an editor does, on top of the client: open, type, ask, wait for the model."""

    def __init__(self, client: LanguageClient, folder: Path) -> None:
        self.client = client
        self.script = folder / "script.json"
        self.record = folder / "calls.jsonl"
        self.log = folder / "server.log"
        self.result: types.InitializeResult | None = None
        self.states: list[dict[str, Any]] = []
        self.applied: list[types.WorkspaceEdit] = []
        self._versions: dict[str, int] = {}
        self._num_pulls = 0
        self._answer_pull = client.get_configuration
        client.get_configuration = self._count_pull  # type: ignore[method-assign]

    def _count_pull(self, **item: Any) -> Any:
        self._num_pulls += 1
        return self._answer_pull(**item)

    def plan(self, script: Script) -> None:
        """What the engine does from its next call on."""
        planned = Script(**{**script.__dict__, "record": str(self.record)})
        self.script.write_text(planned.to_json(), encoding="utf-8")

    async def configure(self, configuration: dict[str, Any]) -> None:
        """Change the user's settings, and wait until the server has pulled them."""
        before = self._num_pulls
        self.client.set_configuration({"seedls": configuration})
        self.client.workspace_did_change_configuration(types.DidChangeConfigurationParams(None))
        await wait_until(lambda: self._num_pulls > before)
        await self.state()  # answered after the pull

    async def start_over(self) -> None:
        """Make a shared server as good as new for the next test."""
        for uri in list(self._versions):
            self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
        self._versions.clear()
        await self.configure({})
        self.plan(Script())
        self.record.unlink(missing_ok=True)
        self.client.messages.clear()
        self.applied.clear()

    @property
    def capabilities(self) -> types.ServerCapabilities:
        """What the server announced."""
        assert self.result is not None
        return self.result.capabilities

    @property
    def messages(self) -> list[str]:
        """Lines shown to the user so far."""
        return [message.message for message in self.client.messages]

    def calls(self, name: str) -> list[dict[str, Any]]:
        """Calls the engine got."""
        if not self.record.exists():
            return []
        lines = self.record.read_text(encoding="utf-8").splitlines()
        return [call for call in map(json.loads, lines) if call["call"] == name]

    def open(self, uri: str, text: str, language: str = "python", version: int = 0) -> str:
        """didOpen."""
        self._versions[uri] = version
        item = types.TextDocumentItem(uri, language, version, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return uri

    def replace_text(self, uri: str, text: str) -> None:
        """didChange of the whole text."""
        self._change(uri, types.TextDocumentContentChangeWholeDocument(text))

    def replace_range(self, uri: str, span: types.Range, text: str) -> None:
        """Incremental didChange."""
        self._change(uri, types.TextDocumentContentChangePartial(span, text))

    def _change(self, uri: str, change: Any) -> None:
        self._versions[uri] += 3  # editors do not count by one
        identifier = types.VersionedTextDocumentIdentifier(self._versions[uri], uri)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(identifier, [change]))

    def inline(
        self, uri: str, line: int, character: int, *, invoked: bool = False, **context: Any
    ) -> asyncio.Task[Any]:
        """Send textDocument/inlineCompletion soon; await the task for the answer."""
        kind = types.InlineCompletionTriggerKind
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(kind.Invoked if invoked else kind.Automatic, **context),
            types.TextDocumentIdentifier(uri),
            types.Position(line, character),
        )
        return asyncio.ensure_future(self.client.text_document_inline_completion_async(params))

    async def inline_texts(self, uri: str, line: int, character: int, *, invoked: bool = False) -> list[str]:
        """The texts of the answer; [] for null."""
        answer = await self.inline(uri, line, character, invoked=invoked)
        return [] if answer is None else [item.insert_text for item in answer.items]

    async def actions(
        self, uri: str, span: types.Range, only: list[Any] | None = None, diagnostics: Any = ()
    ) -> list[types.CodeAction]:
        """textDocument/codeAction."""
        answer = await self.client.text_document_code_action_async(
            types.CodeActionParams(
                types.TextDocumentIdentifier(uri), span, types.CodeActionContext(list(diagnostics), only)
            )
        )
        return list(answer or [])

    def send_now(self, method: str, params: Any, msg_id: str) -> asyncio.Future[Any]:
        """Send a request before returning, under an id that can be cancelled."""
        return asyncio.wrap_future(self.client.protocol.send_request(method, params, msg_id=msg_id))

    async def raw_request(self, method: str, params: Any) -> Any:
        """A request with params, and an answer, that lsprotocol would refuse to build; objects come as named tuples."""
        protocol = self.client.protocol
        answer: Future[Any] = Future()
        msg_id = f"raw-{id(answer)}"
        protocol._request_futures[msg_id] = answer
        plain = protocol._converter.unstructure(params)
        protocol._send_data({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": plain})
        return await asyncio.wrap_future(answer)

    async def command(self, name: str, *arguments: Any) -> Any:
        """workspace/executeCommand."""
        return await self.client.workspace_execute_command_async(types.ExecuteCommandParams(name, list(arguments)))

    async def explain(self) -> dict[str, Any]:
        """seedls.explainLast."""
        return dict(await self.command("seedls.explainLast"))

    async def state(self) -> str:
        """The model's state now."""
        return str((await self.client.protocol.send_request_async(STATUS, None)).state)

    async def wait_until_ready_now(self, seconds: float = 20.0) -> None:
        """Until the model is ready at this moment: also after another one was asked for."""
        limit = time.monotonic() + seconds
        while await self.state() != "ready":
            assert time.monotonic() < limit, "timed out"
            await asyncio.sleep(0.01)

    async def wait_for_state(self, wanted: str, seconds: float = 20.0) -> None:
        """Until the model is, or once was, in that state."""
        await wait_until(lambda: any(state["state"] == wanted for state in self.states), seconds)


async def wait_until(condition: Any, seconds: float = 20.0) -> None:
    """Poll a condition that a notification or another process makes true."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "timed out"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running_server(
    folder: Path,
    script: Script,
    client: str = "vscode",
    *,
    options: dict[str, Any] | None = None,
    configuration: dict[str, Any] | None = None,
    wait_for: str | None = "ready",
    change_capabilities: Any = None,
    command: list[str] | None = None,
    root: Path | None = None,
) -> AsyncIterator[Editor]:
    """A server process with the scripted engine, initialised as `client` does it; shut down in order at the end."""
    lsp = make_test_lsp_client()
    editor = Editor(lsp, folder)
    editor.plan(script)
    lsp.feature(STATE_CHANGED)(lambda params: editor.states.append(params._asdict()))
    lsp.feature(types.CLIENT_REGISTER_CAPABILITY)(lambda params: None)
    lsp.feature(types.WORKSPACE_APPLY_EDIT)(lambda params: _apply(editor, params))
    if configuration is not None:
        lsp.set_configuration({"seedls": configuration})
    default = [sys.executable, "-m", "tests.support.fake_server", str(editor.script), str(editor.log)]
    await lsp.start_io(*(command or default), cwd=ROOT)
    abilities = capabilities_of(client)
    if change_capabilities is not None:
        change_capabilities(abilities)
    folder_uri = root.as_uri() if root is not None else "file:///w"
    params = types.InitializeParams(
        abilities,
        root_uri=folder_uri,
        workspace_folders=[types.WorkspaceFolder(folder_uri, "w")],
        initialization_options=options,
    )
    try:
        editor.result = await lsp.initialize_session(params)
        if wait_for is not None:
            await editor.wait_for_state(wait_for)
        yield editor
        await asyncio.wait_for(lsp.shutdown_session(), 20)
    except BaseException:
        # `stop` waits for the process, which a failed test has not asked to leave.
        if lsp._server is not None and lsp._server.returncode is None:
            lsp._server.kill()
        raise
    finally:
        await lsp.stop()


def _apply(editor: Editor, params: types.ApplyWorkspaceEditParams) -> types.ApplyWorkspaceEditResult:
    editor.applied.append(params.edit)
    return types.ApplyWorkspaceEditResult(applied=True)
