"""initialize, initialized, configuration changes and settings files, shutdown.

`initialize` is answered before any weight is read; loading starts after `initialized`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from seedls.connection import SeedlsServer, log_failure
from seedls.model_loading import load_model, recover
from seedls.positions import Encoding
from seedls.session import ClientAbilities
from seedls.settings import Settings
from seedls.wire_values import plain
from seedls.workspace import SETTINGS_FILES


def initialize(ls: SeedlsServer, params: types.InitializeParams) -> None:
    """Read what the client can do; no model, no disk."""
    session = ls.session
    session.abilities = ClientAbilities.of(params.capabilities)
    session.documents.encoding = _encoding(ls.workspace.position_encoding)
    folders = [folder.uri for folder in params.workspace_folders or []] or [params.root_uri or ""]
    session.roots = [path for uri in folders if (path := unquote(urlsplit(uri).path).rstrip("/"))]
    session.set_options("initialize", _section(params.initialization_options))


async def initialized(ls: SeedlsServer, params: types.InitializedParams) -> None:
    """Pull the configuration where the client has one, then load the model in the background."""
    await _register_for_configuration(ls)
    complaints = await _pull_configuration(ls)
    if complaints is None:
        complaints = ls.session.set_options("configuration", {})
    # The files' layer holds all complaints of the layers below.
    _complain(ls, ls.session.read_settings_files() or complaints)
    _watch_workspace(ls)
    ls.session.on_broken = functools.partial(recover, ls)
    await load_model(ls)


async def did_change_configuration(ls: SeedlsServer, params: types.DidChangeConfigurationParams) -> None:
    """Take the new settings; another model, device or thread count loads again."""
    before = ls.session.settings
    complaints = await _pull_configuration(ls)
    if complaints is None:
        complaints = ls.session.set_options("configuration", _section(params.settings))
    _complain(ls, complaints)
    await _take_effect(ls, before)


async def did_save(ls: SeedlsServer, params: types.DidSaveTextDocumentParams) -> None:
    """Where no file watcher runs, what is saved here is read here."""
    workspace = ls.session.workspace
    path = Path(unquote(urlsplit(params.text_document.uri).path))
    if workspace is None or workspace.is_watching:
        return
    if path.name in SETTINGS_FILES:
        await _settings_file_changed(ls)
    else:
        await asyncio.get_running_loop().run_in_executor(None, workspace.refresh, path)


async def _take_effect(ls: SeedlsServer, before: Settings) -> None:
    """Do what the change from `before` to the settings now asks for."""
    session = ls.session
    after = session.settings
    if (before.context_repository_characters, before.exclude) != (after.context_repository_characters, after.exclude):
        _watch_workspace(ls)
    if (before.model, before.device, before.threads) != (after.model, after.device, after.threads):
        session.num_recoveries = 0
        await load_model(ls)


def _watch_workspace(ls: SeedlsServer) -> None:
    """Read other files only where their text is wanted; settings files are watched in any case."""
    loop = asyncio.get_running_loop()

    def settings_file_changed() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            asyncio.run_coroutine_threadsafe(_settings_file_changed(ls), loop)

    ls.session.watch_workspace(settings_file_changed)


async def _settings_file_changed(ls: SeedlsServer) -> None:
    before = ls.session.settings
    _complain(ls, ls.session.read_settings_files())
    if ls.session.settings != before:
        await _take_effect(ls, before)


def shutdown(ls: SeedlsServer, *_: Any) -> None:
    """Stop generating at once; the process ends with `exit`."""
    ls.session.close()


async def _register_for_configuration(ls: SeedlsServer) -> None:
    """Some clients only announce configuration changes to servers that asked."""
    if not ls.session.abilities.registers_configuration:
        return
    registration = types.Registration(
        id=str(uuid.uuid4()),
        method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
        register_options=types.DidChangeConfigurationRegistrationOptions(section="seedls"),
    )
    try:
        await ls.client_register_capability_async(types.RegistrationParams([registration]))
    except Exception as error:
        log_failure("registering for configuration", error)


async def _pull_configuration(ls: SeedlsServer) -> list[str] | None:
    """Ask the client for section `seedls`; the complaints, or None where it cannot be asked."""
    if not ls.session.abilities.pulls_configuration:
        return None
    try:
        answer = await ls.workspace_configuration_async(
            types.ConfigurationParams([types.ConfigurationItem(section="seedls")])
        )
    except Exception as error:
        log_failure("pulling the configuration", error)
        return None
    return ls.session.set_options("configuration", plain(answer[0]) if answer else {})


def _section(options: Any) -> Any:
    """Options may come below a `seedls` key or bare."""
    options = plain(options)
    inner = options.get("seedls") if isinstance(options, dict) else None
    return inner if isinstance(inner, dict) else options


def _encoding(chosen: types.PositionEncodingKind | str | None) -> Encoding:
    """What pygls agreed on with the client; UTF-16 is the protocol's default."""
    if chosen == types.PositionEncodingKind.Utf8:
        return "utf-8"
    return "utf-32" if chosen == types.PositionEncodingKind.Utf32 else "utf-16"


def _complain(ls: SeedlsServer, complaints: list[str]) -> None:
    if complaints:
        ls.tell("settings: " + "; ".join(complaints) + " (defaults are used)", types.MessageType.Warning)
