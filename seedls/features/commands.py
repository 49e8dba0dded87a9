"""workspace/executeCommand and the custom status request."""

from __future__ import annotations

import asyncio
from typing import Any

from lsprotocol import types

from seedls.connection import SeedlsServer, log_failure
from seedls.edit_running import workspace_edit_for
from seedls.engine import home_folder
from seedls.instructions import INSTRUCTIONS, target_of
from seedls.kept_rate import SETTLED_S, KeptRateFile
from seedls.line_endings import NormalisedText
from seedls.model_loading import load_model
from seedls.protocol import CUSTOM_INSTRUCTION, ActionData, Status, checked_prompt, to_wire
from seedls.wire_values import plain

_CUSTOM_TITLE = "Refactor"


def current_status(ls: SeedlsServer) -> Status:
    """Model and counters now."""
    session = ls.session
    return Status(
        state=session.engine.state,
        message=session.engine.message,
        model=session.settings.model,
        counters=session.metrics.counters,
        p50_ms=session.metrics.percentile_ms(0.5),
        p90_ms=session.metrics.percentile_ms(0.9),
    )


def status_request(ls: SeedlsServer, *_: Any) -> dict[str, Any]:
    """seedls/status."""
    return to_wire(current_status(ls))


def status(ls: SeedlsServer, *_: Any) -> dict[str, Any]:
    """seedls.status: show one line, return the details."""
    found = current_status(ls)
    shown = found.counters.get("inlineCompletion.shown", 0) + found.counters.get("completion.shown", 0)
    accepted = found.counters.get("accepted", 0)
    ls.tell(f"{found.state}: {found.message}; {shown} shown, {accepted} accepted")
    return to_wire(found)


def explain_last_request(ls: SeedlsServer, *_: Any) -> dict[str, Any]:
    """seedls/explainLast: the same without showing it."""
    return to_wire(ls.session.metrics.last)


def explain_last(ls: SeedlsServer, *_: Any) -> dict[str, Any]:
    """seedls.explainLast: why the last answer was what it was."""
    last = ls.session.metrics.last
    ls.tell(f"{last.request}: {last.outcome}, {last.reason}" if last.request else last.reason)
    return to_wire(last)


def accepted(ls: SeedlsServer, *arguments: Any) -> None:
    """seedls.accepted: the user took a completion; a while later it is seen how much of it was kept."""
    ls.session.metrics.count("accepted")
    taken = ls.session.take_accepted(str(arguments[0])) if arguments else None
    if taken is not None:
        asyncio.get_running_loop().call_later(SETTLED_S, ls.session.note_kept, taken)


def delete_kept_rate(ls: SeedlsServer, *_: Any) -> bool:
    """seedls.deleteKeptRate: remove the local file of kept rates; true when there was one."""
    file = KeptRateFile(home_folder())
    try:
        existed = file.delete()
    except OSError as error:
        ls.tell(f"{file.path} cannot be deleted: {error.strerror or error}", types.MessageType.Error)
        return False
    ls.tell(f"{file.path} was deleted" if existed else "there are no kept rates")
    return existed


async def restart(ls: SeedlsServer, *_: Any) -> bool:
    """seedls.restart: load the model again; true when it is ready."""
    ls.session.num_recoveries = 0
    return await load_model(ls)


async def apply_action(ls: SeedlsServer, *arguments: Any) -> bool:
    """seedls.applyAction: run a rewrite and apply it through the client; true when it was applied."""
    try:
        data = ActionData.from_wire(arguments[0] if arguments else None)
        instruction = INSTRUCTIONS.get(data.instruction)
        return await _apply(ls, data, instruction.title if instruction else data.instruction)
    except Exception as error:
        log_failure("seedls.applyAction", error)
        ls.tell("the action failed; see the log", types.MessageType.Error)
        return False


async def refactor(ls: SeedlsServer, *arguments: Any) -> bool:
    """seedls.refactor: a rewrite in the user's own words; true when it was applied."""
    try:
        data = _custom_action(ls, arguments[0] if arguments else None)
    except ValueError as wrong:
        ls.tell(f"refactor: {wrong}", types.MessageType.Warning)
        return False
    try:
        return await _apply(ls, data, _CUSTOM_TITLE)
    except Exception as error:
        log_failure("seedls.refactor", error)
        ls.tell("the refactoring failed; see the log", types.MessageType.Error)
        return False


def _custom_action(ls: SeedlsServer, raw: Any) -> ActionData:
    """Which characters and what to do, from what the client sent; ValueError naming what is wrong."""
    request = plain(raw)
    if not isinstance(request, dict):
        raise ValueError(f"{request!r} is not an object")
    prompt = checked_prompt(request.get("instruction"))
    uri = request.get("uri")
    snapshot = ls.session.documents.get(uri) if isinstance(uri, str) else None
    if snapshot is None:
        raise ValueError(f"{uri!r} is not an open document")
    normal = NormalisedText(snapshot.text)
    start, end = map(normal.from_original, snapshot.offsets_at(_range(request.get("range"))))
    target = target_of(normal.text, start, end, ls.session.tree_for(snapshot, normal.text, start, end))
    if target is None:
        raise ValueError("there is nothing to rewrite: select some code, or put the cursor into a function")
    if target.end - target.start > ls.session.settings.edit_max_characters:
        raise ValueError(f"{target.name} has {target.end - target.start} characters, more than edit.maxCharacters")
    return ActionData(
        snapshot.uri,
        snapshot.version,
        normal.to_original(target.start),
        normal.to_original(target.end),
        CUSTOM_INSTRUCTION,
        prompt=prompt,
    )


def _range(raw: Any) -> types.Range:
    """An LSP range; positions past the end are clamped later, as everywhere."""
    ends = []
    for name in ("start", "end"):
        position = raw.get(name) if isinstance(raw, dict) else None
        line, character = (position.get("line"), position.get("character")) if isinstance(position, dict) else (0, None)
        if type(line) is not int or type(character) is not int or line < 0 or character < 0:
            raise ValueError(f"range.{name} is {position!r}, not a position")
        ends.append(types.Position(line, character))
    return types.Range(*ends)


async def _apply(ls: SeedlsServer, data: ActionData, title: str) -> bool:
    """Run the rewrite and have the client apply it; true when it did."""
    edit = await workspace_edit_for(ls, data, title)
    if edit is None:
        return False
    answer = await ls.workspace_apply_edit_async(
        types.ApplyWorkspaceEditParams(edit=edit, label=title, metadata=edit_metadata(ls.client_capabilities))
    )
    return bool(answer.applied)


def edit_metadata(capabilities: types.ClientCapabilities) -> types.WorkspaceEditMetadata | None:
    """Only for clients that announce it (3.18): older ones refuse the whole request for a field they do not know."""
    workspace = capabilities.workspace
    knows_it = workspace and workspace.workspace_edit and workspace.workspace_edit.metadata_support
    return types.WorkspaceEditMetadata(is_refactoring=True) if knows_it else None
