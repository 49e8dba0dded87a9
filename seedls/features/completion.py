"""textDocument/completion, only for clients without inlineCompletion: marked entries, never first by force."""

from __future__ import annotations

from lsprotocol import types

from seedls.connection import SeedlsServer, empty_on_failure
from seedls.engine import EngineFailed
from seedls.model_loading import recover
from seedls.protocol import COMMAND_ACCEPTED
from seedls.scene import Ask
from seedls.suggestions import Suggestions, suggest

_MAX_LABEL = 60


@empty_on_failure
async def completion(ls: SeedlsServer, params: types.CompletionParams) -> types.CompletionList | None:
    """The suggestion as menu entries; None when there is nothing worth showing."""
    kind = params.context.trigger_kind if params.context else types.CompletionTriggerKind.Invoked
    ask = Ask(
        request="completion",
        uri=params.text_document.uri,
        position=params.position,
        is_invoked=kind == types.CompletionTriggerKind.Invoked,
    )
    engine = ls.session.engine
    try:
        suggestions = await suggest(ls.session, ask)
    except EngineFailed:
        await recover(ls, engine)
        return None
    if suggestions is None:
        return None
    return types.CompletionList(is_incomplete=True, items=[_item(suggestions, text) for text in suggestions.texts])


def _item(suggestions: Suggestions, text: str) -> types.CompletionItem:
    first_line = text.strip().splitlines()[0]
    label = first_line if len(first_line) <= _MAX_LABEL else first_line[: _MAX_LABEL - 1] + "…"
    return types.CompletionItem(
        label=label,
        kind=types.CompletionItemKind.Text,
        detail="seedls",
        # "~" sorts behind identifiers; filtering on the typed word is the client's business and must not hide it.
        sort_text="~" + label,
        filter_text=_word_before(suggestions) + text,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(suggestions.span, text),
        command=types.Command("seedls: accepted", COMMAND_ACCEPTED, arguments=[suggestions.id]),
    )


def _word_before(suggestions: Suggestions) -> str:
    """Clients filter entries by the word left of the cursor."""
    snapshot = suggestions.snapshot
    line_idx, column = snapshot.content.locate(suggestions.span.start, snapshot.encoding)
    left = snapshot.content.lines[line_idx][:column]
    start = len(left)
    while start > 0 and (left[start - 1].isalnum() or left[start - 1] == "_"):
        start -= 1
    return left[start:]
