"""The table method -> handler, and how the server runs over a transport. No logic of features."""

from __future__ import annotations

import functools
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from lsprotocol import types

from seedls import protocol
from seedls.connection import SeedlsServer, exit_code_of, flush_streams, quiet_pygls
from seedls.engine import EngineFactory, RuntimeEngine
from seedls.features import commands, edit_run, lifecycle
from seedls.features.code_action import OFFERED_KINDS, code_action
from seedls.features.code_action_resolve import code_action_resolve
from seedls.features.completion import completion
from seedls.features.inline_completion import inline_completion
from seedls.features.next_edit import copilot_inline_edit, ignored, next_edit

_log = logging.getLogger("seedls")
_EXIT_WAIT_S = 2.0
"""How long the exit waits for the running denoising step (or a load) to end by itself."""

Handler = Callable[..., Any]

_FEATURES: tuple[tuple[str, Handler, Any], ...] = (
    (types.INITIALIZED, lifecycle.initialized, None),
    (types.SHUTDOWN, lifecycle.shutdown, None),
    (types.WORKSPACE_DID_CHANGE_CONFIGURATION, lifecycle.did_change_configuration, None),
    (types.TEXT_DOCUMENT_DID_SAVE, lifecycle.did_save, None),
    # Without options pygls does not advertise the feature.
    (types.TEXT_DOCUMENT_INLINE_COMPLETION, inline_completion, types.InlineCompletionOptions()),
    (
        types.TEXT_DOCUMENT_CODE_ACTION,
        code_action,
        types.CodeActionOptions(code_action_kinds=OFFERED_KINDS, resolve_provider=True),
    ),
    (types.CODE_ACTION_RESOLVE, code_action_resolve, None),
    (protocol.STATUS, commands.status_request, None),
    (protocol.EXPLAIN_LAST, commands.explain_last_request, None),
    (protocol.EDIT_RUN_START, edit_run.start, None),
    (protocol.EDIT_RUN_STEP, edit_run.step, None),
    (protocol.EDIT_RUN_ACCEPT, edit_run.accept, None),
    (protocol.EDIT_RUN_CANCEL, edit_run.cancel, None),
    (protocol.NEXT_EDIT, next_edit, None),
    (protocol.COPILOT_INLINE_EDIT, copilot_inline_edit, None),
    (protocol.COPILOT_DID_FOCUS, ignored, None),
    (protocol.COPILOT_DID_SHOW, ignored, None),
)

_COMMANDS: tuple[tuple[str, Handler], ...] = (
    (protocol.COMMAND_STATUS, commands.status),
    (protocol.COMMAND_EXPLAIN_LAST, commands.explain_last),
    (protocol.COMMAND_RESTART, commands.restart),
    (protocol.COMMAND_ACCEPTED, commands.accepted),
    (protocol.COMMAND_APPLY_ACTION, commands.apply_action),
    (protocol.COMMAND_REFACTOR, commands.refactor),
    (protocol.COMMAND_DELETE_KEPT_RATE, commands.delete_kept_rate),
)


def create_server(engine_factory: EngineFactory = RuntimeEngine) -> SeedlsServer:
    """A server with every feature registered, not yet connected."""
    quiet_pygls()
    server = SeedlsServer(engine_factory)
    for method, handler, options in _FEATURES:
        server.feature(method, options)(handler)
    for name, handler in _COMMANDS:
        server.command(name)(handler)
    server.feature(types.INITIALIZE)(_initialize)
    return server


def _initialize(ls: SeedlsServer, params: types.InitializeParams) -> None:
    """Completion entries are offered only to clients that do not know inline completion."""
    lifecycle.initialize(ls, params)
    if not ls.session.abilities.inline_completion:
        ls.feature(types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions())(completion)


def run_stdio(engine_factory: EngineFactory = RuntimeEngine) -> int:
    """Serve one client over standard input and output; the exit code the protocol asks for."""
    # Standard output belongs to the protocol: whatever a library prints goes to standard error.
    protocol_out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    server = create_server(engine_factory)
    server.serve(functools.partial(os.read, sys.stdin.fileno()), protocol_out)
    return _leave(server)


def run_tcp(host: str, port: int, engine_factory: EngineFactory = RuntimeEngine) -> int:
    """Serve one client over TCP, then end; raises OSError when the address cannot be listened on.

    Nobody else is let in meanwhile: the library would give a second client's answers to whoever came last.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        _log.info("listening on port %d", listener.getsockname()[1])
        connection, _ = listener.accept()
    server = create_server(engine_factory)
    with connection, connection.makefile("wb") as outgoing:
        server.serve(connection.recv, outgoing)
    return _leave(server)


def _leave(server: SeedlsServer) -> int:
    """Give the worker a moment to finish its step; a model that is still loading does not hold up the exit."""
    code = exit_code_of(server)
    limit = time.monotonic() + _EXIT_WAIT_S
    while not server.session.scheduler.is_idle and time.monotonic() < limit:
        time.sleep(0.01)
    if not server.session.scheduler.is_idle:
        _log.warning("left while the model was busy")
        logging.shutdown()
        flush_streams()
        os._exit(code)
    server.session.engine.close()
    return code
