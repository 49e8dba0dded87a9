"""The traps of the protocol library, where no pipe is needed to see them."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from seedls.connection import LogWithoutUserText, SeedlsServer, empty_on_failure
from seedls.server import create_server
from tests.support.fake_engine import FakeEngine, Script

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["uri", "text", "line"]), inner),
    max_leaves=6,
)


class Sent:
    """Collects what the server writes."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.messages.append(json.loads(data.split(b"\r\n\r\n", 1)[1]))

    def close(self) -> None: ...


def _server() -> tuple[SeedlsServer, Sent]:
    server = create_server(lambda settings: FakeEngine(Script()))
    sent = Sent()
    server.protocol.set_writer(sent)
    return server, sent


def _receive(server: SeedlsServer, message: dict[str, Any]) -> None:
    """As the transport does it: every JSON object goes through the hook, innermost first."""
    parsed = json.loads(json.dumps(message), object_hook=server.protocol.structure_message)
    server.protocol.handle_message(parsed)


def test_the_model_has_its_own_thread_pool() -> None:
    server, _ = _server()
    assert server.session.scheduler._executor is not server.thread_pool
    server.shutdown()


def test_a_request_that_cannot_be_read_gets_an_error_reply() -> None:
    server, sent = _server()
    _receive(server, {"jsonrpc": "2.0", "id": 7, "method": "textDocument/inlineCompletion", "params": {"x": 1}})
    (reply,) = sent.messages
    assert (reply["id"], reply["error"]["code"]) == (7, -32602)


def test_trigger_kinds_from_before_the_final_protocol() -> None:
    server, _ = _server()

    def kind(given: int) -> int:
        data = {
            "jsonrpc": "2.0",
            "method": "textDocument/inlineCompletion",
            "params": {"context": {"triggerKind": given}},
        }
        server.protocol._map_old_trigger_kind(data)
        return int(data["params"]["context"]["triggerKind"])  # type: ignore[index]

    assert [kind(1), kind(2)] == [1, 2]
    assert kind(0) == 1  # this client counts from 0
    assert kind(1) == 2


@given(
    st.sampled_from(["textDocument/didOpen", "textDocument/didChange", "textDocument/codeAction", "x/y"]), json_values
)
def test_no_message_raises(method: str, params: Any) -> None:
    server, sent = _server()
    _receive(server, {"jsonrpc": "2.0", "method": method, "params": params})
    _receive(server, {"id": 1})
    _receive(server, {"jsonrpc": "2.0", "id": 3, "result": params})
    assert all("showMessage" not in str(message.get("method")) for message in sent.messages)
    server.shutdown()


def test_changes_of_a_document_that_is_not_open_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = _server()
    change = {"textDocument": {"uri": "file:///a", "version": 2}, "contentChanges": [{"text": "secret"}]}
    _receive(server, {"jsonrpc": "2.0", "method": "textDocument/didChange", "params": change})
    assert "not open" in caplog.text
    assert "secret" not in caplog.text


def test_a_failing_handler_answers_nothing_and_logs_once_without_the_message(caplog: pytest.LogCaptureFixture) -> None:
    @empty_on_failure
    async def handler(ls: SeedlsServer, params: str) -> str:
        raise KeyError(params)

    server, _ = _server()
    assert asyncio.run(handler(server, "secret")) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("handler failed: KeyError at handler:")


@pytest.mark.parametrize(
    ("message", "arguments", "kept"),
    [
        ("Failed to handle %r: %s", ("m", "secret"), "Failed to handle %r: %s"),
        ("Unable to read\n%s", ("secret",), "Unable to read"),
        ("100% of secret-free text", (), "100% of secret-free text"),
    ],
)
def test_the_protocol_librarys_log_is_reduced_to_templates(message: str, arguments: Any, kept: str) -> None:
    record = logging.LogRecord("pygls", logging.ERROR, "", 1, message, arguments, None)
    assert LogWithoutUserText().filter(record)
    assert record.getMessage() == kept
    assert record.args == ()


def test_the_protocol_library_logs_warnings_only() -> None:
    _server()
    assert logging.getLogger("pygls").level == logging.WARNING
    assert not logging.getLogger("pygls.protocol.json_rpc").isEnabledFor(logging.INFO)


def test_incremental_sync_is_announced() -> None:
    server, _ = _server()
    assert server._text_document_sync_kind == types.TextDocumentSyncKind.Incremental
