"""workspace/executeCommand and the custom status request."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from seedls.connection import SeedlsServer, log_failure
from seedls.edit_running import workspace_edit_for
from seedls.instructions import INSTRUCTIONS
from seedls.model_loading import load_model
from seedls.protocol import ActionData, Status, to_wire


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


def explain_last(ls: SeedlsServer, *_: Any) -> dict[str, Any]:
    """seedls.explainLast: why the last answer was what it was."""
    last = ls.session.metrics.last
    ls.tell(f"{last.request}: {last.outcome}, {last.reason}" if last.request else last.reason)
    return to_wire(last)


def accepted(ls: SeedlsServer, *_: Any) -> None:
    """seedls.accepted: the user took a completion."""
    ls.session.metrics.count("accepted")


async def restart(ls: SeedlsServer, *_: Any) -> bool:
    """seedls.restart: load the model again; true when it is ready."""
    ls.session.num_recoveries = 0
    return await load_model(ls)


async def apply_action(ls: SeedlsServer, *arguments: Any) -> bool:
    """seedls.applyAction: run a rewrite and apply it through the client; true when it was applied."""
    try:
        data = ActionData.from_wire(arguments[0] if arguments else None)
        instruction = INSTRUCTIONS.get(data.instruction)
        title = instruction.title if instruction else data.instruction
        edit = await workspace_edit_for(ls, data, title)
        if edit is None:
            return False
        answer = await ls.workspace_apply_edit_async(
            types.ApplyWorkspaceEditParams(
                edit=edit, label=title, metadata=types.WorkspaceEditMetadata(is_refactoring=True)
            )
        )
        return bool(answer.applied)
    except Exception as error:
        log_failure("seedls.applyAction", error)
        ls.tell("the action failed; see the log", types.MessageType.Error)
        return False
