"""The server object and our changes to pygls' protocol: own document sync, tolerant parsing, no user text in logs.

Owns what differs from plain pygls. It does not know any feature; `server.py` has the table of those.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO, TypeVar

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.io_ import StdoutWriter
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter, lsp_method

from seedls import __version__
from seedls.engine import EngineFactory
from seedls.message_reader import MessageReader, Receive
from seedls.protocol import EXPLAIN_LAST, STATUS
from seedls.session import Session

_log = logging.getLogger("seedls")
_INVALID_PARAMS = -32602
_WITHOUT_PARAMS = (STATUS, EXPLAIN_LAST)
"""Clients may leave `params` out altogether; pygls cannot read a custom request without."""

Params = TypeVar("Params")
Answer = TypeVar("Answer")


class _Dropped:
    """A message that could not be read and has been dealt with."""


class SeedlsProtocol(LanguageServerProtocol):
    """pygls' protocol with the parts replaced that would lose requests or desynchronise documents."""

    _server: SeedlsServer
    _has_zero_based_triggers = False

    @lsp_method(types.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        """Track a document ourselves: pygls splits lines differently from editors."""
        self._server.session.documents.open(params.text_document)

    @lsp_method(types.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        """Apply incremental or whole changes."""
        document = params.text_document
        snapshot = self._server.session.change(document.uri, document.version, params.content_changes)
        if snapshot is None:
            _log.warning("didChange for a document that is not open was ignored")

    @lsp_method(types.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        """Forget the document and stop work for it."""
        self._server.session.forget(params.text_document.uri)

    def handle_body(self, body: bytes) -> None:
        """Read one message and dispatch it; what goes wrong is logged by its kind and costs this message only."""
        try:
            data = json.loads(body)
            self.handle_message(self.structure_message(data) if isinstance(data, dict) else data)
        except Exception as error:
            self._server.report_server_error(error, JsonRpcException)

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Read one JSON object; an unreadable request gets an error reply, which pygls forgets to send."""
        if "jsonrpc" not in data:
            return data
        if data.get("method") == types.TEXT_DOCUMENT_INLINE_COMPLETION:
            self._map_old_trigger_kind(data)
        if data.get("method") in _WITHOUT_PARAMS:
            data.setdefault("params", {})
        try:
            return super().structure_message(data)
        except Exception as error:
            _log.error("unreadable %s message (%s)", data.get("method", "reply"), type(error).__name__)
            if "id" in data and "method" in data:
                self._send_response(data["id"], error=types.ResponseError(_INVALID_PARAMS, "Invalid Params"))
            return _Dropped()

    def _map_old_trigger_kind(self, data: dict[str, Any]) -> None:
        """vscode-languageclient 9 counts from 0 (Invoked, Automatic), the final protocol from 1."""
        params = data.get("params")
        context = params.get("context") if isinstance(params, dict) else None
        kind = context.get("triggerKind") if isinstance(context, dict) else None
        if kind == 0:
            self._has_zero_based_triggers = True
        if self._has_zero_based_triggers and kind in (0, 1) and isinstance(context, dict):
            context["triggerKind"] = kind + 1

    def handle_message(self, message: Any) -> None:
        """Dispatch what could be read."""
        if isinstance(message, _Dropped):
            return
        if not hasattr(message, "jsonrpc"):
            _log.error("ignored a message that is not JSON-RPC")
            return
        super().handle_message(message)


class SeedlsServer(LanguageServer):
    """The language server with its session."""

    protocol: SeedlsProtocol

    def __init__(self, engine_factory: EngineFactory) -> None:
        self.session = Session(engine_factory)
        super().__init__(
            "seedls",
            __version__,
            protocol_cls=SeedlsProtocol,
            converter_factory=default_converter,
            max_workers=1,  # nobody uses this pool: reader and model have threads of their own
        )

    def serve(self, receive: Receive, outgoing: BinaryIO) -> None:
        """Handle what one client sends until it says `exit` or is gone."""
        self.protocol.set_writer(StdoutWriter(outgoing))
        try:
            asyncio.run(self._handle_messages(receive))
        except BrokenPipeError:
            _log.error("the client does not read any more")
        except (KeyboardInterrupt, SystemExit):  # pygls' handler of `exit` raises the latter
            pass
        finally:
            self.shutdown()

    async def _handle_messages(self, receive: Receive) -> None:
        reader = MessageReader(receive)
        while (body := await reader.next_message()) is not None:
            self.protocol.handle_body(body)
            # What a request starts begins before the next message is looked at: it sees the text it was sent about.
            await asyncio.sleep(0)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log the kind of error; no popup for the user, no text of theirs in the log."""
        _log.error("%s while handling a message", type(error).__name__)

    def shutdown(self) -> None:
        """Stop the model's work, then the transport: a long generation must not delay the exit."""
        self.session.close()
        super().shutdown()  # type: ignore[no-untyped-call]  # pygls

    def tell(self, message: str, kind: types.MessageType = types.MessageType.Info) -> None:
        """Show one line to the user."""
        self.window_show_message(types.ShowMessageParams(kind, f"seedls: {message}"))


def empty_on_failure(
    handler: Callable[[SeedlsServer, Params], Awaitable[Answer]],
) -> Callable[[SeedlsServer, Params], Awaitable[Answer | None]]:
    """Make a request handler answer nothing instead of an error when it fails; the failure is logged once."""

    @functools.wraps(handler)
    async def guarded(ls: SeedlsServer, params: Params) -> Answer | None:
        try:
            return await handler(ls, params)
        except Exception as error:
            log_failure(getattr(handler, "__name__", "handler"), error)
            return None

    return guarded


def log_failure(what: str, error: BaseException) -> None:
    """Log where something failed. The error's message stays out: it may quote the user's text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    trail = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    _log.error("%s failed: %s at %s", what, type(error).__name__, trail)


class LogWithoutUserText(logging.Filter):
    """Reduces pygls' records to their templates: their arguments and tracebacks quote whole messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; strips the record."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        record.msg = f"{str(record.msg).splitlines()[0]} {error}".rstrip()
        record.args, record.exc_info, record.exc_text = (), None, None
        return True


def quiet_pygls() -> None:
    """Keep pygls at warnings, without the user's text."""
    logging.getLogger("pygls").setLevel(logging.WARNING)
    for name in ("pygls.protocol.json_rpc", "pygls.protocol.language_server", "pygls.server", "pygls.io_"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, LogWithoutUserText) for known in logger.filters):
            logger.addFilter(LogWithoutUserText())


def exit_code_of(server: SeedlsServer) -> int:
    """0 after an orderly `shutdown`, else 1, as the protocol asks."""
    return 0 if server.protocol._shutdown else 1


def flush_streams() -> None:
    """Before leaving without the interpreter's clean-up."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
