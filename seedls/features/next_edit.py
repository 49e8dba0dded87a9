"""seedls/nextEdit, and the same in the shape that next-edit interfaces of editors already render."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from seedls.connection import SeedlsServer, empty_on_failure
from seedls.engine import EngineFailed
from seedls.model_loading import recover
from seedls.proposals import Proposals, propose
from seedls.protocol import COMMAND_ACCEPTED, NextEdit, NextEdits, to_wire
from seedls.wire_values import plain


@empty_on_failure
async def next_edit(ls: SeedlsServer, params: Any) -> dict[str, Any] | None:
    """seedls/nextEdit: every follow-up, the nearest behind the cursor first; null when there is none."""
    found = await _proposals(ls, params)
    if found is None:
        return None
    edits = [NextEdit(_range(edit.span), edit.new_text, edit.kind) for edit in found.edits]
    return to_wire(NextEdits(found.snapshot.uri, found.snapshot.version, found.id, edits))


@empty_on_failure
async def copilot_inline_edit(ls: SeedlsServer, params: Any) -> dict[str, Any]:
    """textDocument/copilotInlineEdit: the nearest follow-up only, since the edits of that answer are alternatives."""
    found = await _proposals(ls, params)
    if found is None:
        return {"edits": []}
    edit = found.edits[0]
    return {
        "edits": [
            {
                "textDocument": {"uri": found.snapshot.uri, "version": found.snapshot.version},
                "range": _range(edit.span),
                "text": edit.new_text,
                "command": {"title": "seedls: accepted", "command": COMMAND_ACCEPTED, "arguments": [found.id]},
            }
        ]
    }


def ignored(ls: SeedlsServer, *_: Any) -> None:
    """Notifications of such interfaces that change nothing here."""


async def _proposals(ls: SeedlsServer, params: Any) -> Proposals | None:
    request = plain(params)
    document, place = request["textDocument"], request["position"]
    engine = ls.session.engine
    try:
        return await propose(
            ls.session, document["uri"], types.Position(place["line"], place["character"]), document.get("version")
        )
    except EngineFailed:
        await recover(ls, engine)
        return None


def _range(span: types.Range) -> dict[str, Any]:
    return {
        "start": {"line": span.start.line, "character": span.start.character},
        "end": {"line": span.end.line, "character": span.end.character},
    }
