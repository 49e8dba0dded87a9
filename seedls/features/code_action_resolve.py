"""codeAction/resolve: runs the model for the chosen action and fills in its edit, or says why there is none."""

from __future__ import annotations

from lsprotocol import types

from seedls.connection import SeedlsServer, log_failure
from seedls.edit_running import workspace_edit_for
from seedls.protocol import ActionData


async def code_action_resolve(ls: SeedlsServer, action: types.CodeAction) -> types.CodeAction:
    """The action with an edit; without one the user was told why."""
    try:
        data = ActionData.from_wire(action.data)
        action.edit = await workspace_edit_for(ls, data, action.title)
    except Exception as error:
        log_failure("codeAction/resolve", error)
        ls.tell(f"{action.title}: failed; see the log", types.MessageType.Error)
    return action
