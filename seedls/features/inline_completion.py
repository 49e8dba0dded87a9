"""textDocument/inlineCompletion (LSP 3.18): ghost text."""

from __future__ import annotations

from lsprotocol import types

from seedls.connection import SeedlsServer, empty_on_failure
from seedls.engine import EngineFailed
from seedls.model_loading import recover
from seedls.protocol import COMMAND_ACCEPTED
from seedls.scene import Ask
from seedls.suggestions import suggest


@empty_on_failure
async def inline_completion(
    ls: SeedlsServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList | None:
    """Texts for the cursor, each with an explicit single-line range; None when there is nothing worth showing.

    Superseded and stale requests are answered with None, not with an error: some clients log every error reply.
    """
    ask = Ask(
        request="inlineCompletion",
        uri=params.text_document.uri,
        position=params.position,
        is_invoked=params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked,
        selected=params.context.selected_completion_info,
    )
    engine = ls.session.engine
    try:
        suggestions = await suggest(ls.session, ask)
    except EngineFailed:
        await recover(ls, engine)
        return None
    if suggestions is None:
        return None
    ls.session.metrics.count("inlineCompletion.items")
    accepted = types.Command("seedls: accepted", COMMAND_ACCEPTED, arguments=[suggestions.id])
    return types.InlineCompletionList(
        [
            types.InlineCompletionItem(insert_text=text, range=suggestions.span, command=accepted)
            for text in suggestions.texts
        ]
    )
