"""Runs a rewrite for the user: progress with a cancel button, the reason when nothing comes of it.

Shared by codeAction/resolve and the command for clients that cannot resolve. It does not know how edits are made.
"""

from __future__ import annotations

import asyncio

from lsprotocol import types

from seedls.connection import SeedlsServer
from seedls.engine import EngineFailed
from seedls.instructions import TESTS
from seedls.model_loading import recover
from seedls.new_tests import new_tests
from seedls.open_request import NoAnswer
from seedls.progress import WorkProgress
from seedls.protocol import ActionData
from seedls.rewrite import Rewritten, rewrite
from seedls.text_edits import to_workspace_edit


async def workspace_edit_for(ls: SeedlsServer, data: ActionData, title: str) -> types.WorkspaceEdit | None:
    """The edit in the richest form the client knows, or None after telling the user why."""
    session = ls.session
    engine = session.engine
    task: asyncio.Future[Rewritten | types.WorkspaceEdit]
    if data.instruction == TESTS.id:
        task = asyncio.ensure_future(new_tests(session, data))
    else:
        task = asyncio.ensure_future(rewrite(session, data))
    progress = WorkProgress(ls, title, on_cancel=lambda: _cancel(task))
    try:
        done = await task
    except NoAnswer as nothing:
        if nothing.outcome not in ("superseded", "closed"):
            ls.tell(f"{title}: {nothing.reason}")
        return None
    except EngineFailed:
        await recover(ls, engine)
        return None
    except asyncio.CancelledError:
        if (current := asyncio.current_task()) is not None and current.cancelling():
            task.cancel()
            raise  # the client cancelled the request itself
        return None  # the user pressed cancel in the progress item
    finally:
        progress.end("done")
    if isinstance(done, types.WorkspaceEdit):
        return done
    return to_workspace_edit(
        done.snapshot, done.replacements, title, session.abilities.edit, session.settings.edit_confirm
    )


def _cancel(task: asyncio.Future[Rewritten | types.WorkspaceEdit]) -> None:
    task.cancel()
