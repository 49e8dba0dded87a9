"""textDocument/codeAction: what could be done with the selection. Cheap: asked at every caret move, runs no model."""

from __future__ import annotations

from lsprotocol import types

from seedls.connection import SeedlsServer, empty_on_failure
from seedls.documents import DocumentSnapshot
from seedls.instructions import (
    EXTRACT,
    FIX,
    REPAIR,
    TESTS,
    Instruction,
    Target,
    extraction_of,
    refactorings_for,
    target_of,
)
from seedls.line_endings import NormalisedText, line_bounds
from seedls.protocol import COMMAND_APPLY_ACTION, CUSTOM_INSTRUCTION, ActionData, to_wire
from seedls.reading_ahead import caret_rests
from seedls.session import Session

OFFERED_KINDS = (
    types.CodeActionKind.RefactorRewrite,
    types.CodeActionKind.RefactorExtract,
    types.CodeActionKind.QuickFix,
)
_MAX_MESSAGE = 60
_MAX_FIXES = 5


@empty_on_failure
async def code_action(ls: SeedlsServer, params: types.CodeActionParams) -> list[types.CodeAction] | None:
    """Rewrites of the selection (or the function around the caret) and fixes for the diagnostics in range."""
    session = ls.session
    snapshot = session.documents.get(params.text_document.uri)
    if snapshot is None or session.is_excluded(snapshot.uri):
        return None
    if params.range.start == params.range.end and params.context.trigger_kind != types.CodeActionTriggerKind.Invoked:
        caret_rests(session, snapshot.uri, params.range.start)
    reason = _why_disabled(session)
    if reason and not session.abilities.shows_disabled:
        return None
    actions: list[types.CodeAction] = []
    if _is_wanted(types.CodeActionKind.RefactorRewrite, params.context):
        actions += _refactorings(session, snapshot, params.range, reason)
    if _is_wanted(types.CodeActionKind.RefactorExtract, params.context):
        actions += _extractions(session, snapshot, params.range, reason)
    if _is_wanted(types.CodeActionKind.QuickFix, params.context):
        actions += _fixes(session, snapshot, params.context.diagnostics, reason)
        actions += _repairs(session, snapshot, params.range, reason)
    return actions or None


def _why_disabled(session: Session) -> str | None:
    return None if session.engine.state == "ready" else f"the model is not ready: {session.engine.message}"


def _is_wanted(kind: types.CodeActionKind, context: types.CodeActionContext) -> bool:
    """`only` names kinds or their parents: `refactor` wants `refactor.rewrite`."""
    if not context.only:
        return True
    wanted = [str(getattr(entry, "value", entry)) for entry in context.only]
    return any(not entry or kind.value == entry or kind.value.startswith(entry + ".") for entry in wanted)


def _refactorings(
    session: Session, snapshot: DocumentSnapshot, span: types.Range, reason: str | None
) -> list[types.CodeAction]:
    normal = NormalisedText(snapshot.text)
    start, end = map(normal.from_original, snapshot.offsets_at(span))
    tree = session.tree_for(snapshot, normal.text, start, end)
    target = target_of(normal.text, start, end, tree)
    if target is None:
        return []
    if start == end:
        target = _from_line_start(normal.text, target)
    reason = reason or _why_too_long(session, target)
    if reason and not session.abilities.shows_disabled:
        return []
    return [
        _action(session, snapshot, normal, target, instruction, reason)
        for instruction in refactorings_for(target, snapshot.language_id, tree)
        if instruction is not TESTS or session.abilities.creates_files
    ]


def _extractions(
    session: Session, snapshot: DocumentSnapshot, span: types.Range, reason: str | None
) -> list[types.CodeAction]:
    """The selected lines as a function of their own: the edit covers the function they are in."""
    normal = NormalisedText(snapshot.text)
    start, end = map(normal.from_original, snapshot.offsets_at(span))
    found = extraction_of(normal.text, start, end, session.tree_for(snapshot, normal.text, start, end))
    if found is None:
        return []
    target, prompt = _from_line_start(normal.text, found[0]), found[1]
    reason = reason or _why_too_long(session, target)
    if reason and not session.abilities.shows_disabled:
        return []
    first, last = normal.to_original(target.start), normal.to_original(target.end)
    data = ActionData(snapshot.uri, snapshot.version, first, last, CUSTOM_INSTRUCTION, prompt=prompt)
    title = f"{EXTRACT.title} (from {target.name})"
    return [_with_way_to_run(session, title, types.CodeActionKind.RefactorExtract, data, reason)]


def _repairs(
    session: Session, snapshot: DocumentSnapshot, span: types.Range, reason: str | None
) -> list[types.CodeAction]:
    """For a file that does not parse: all of it, when it is short enough to be rewritten."""
    length = len(snapshot.text)
    if length > session.settings.edit_max_characters or (reason and not session.abilities.shows_disabled):
        return []
    text = NormalisedText(snapshot.text).text
    tree = session.tree_for(snapshot, text, 0, len(text))
    if tree is None or tree.count_errors() == 0:
        return []
    data = ActionData(snapshot.uri, snapshot.version, 0, length, REPAIR.id)
    return [_with_way_to_run(session, REPAIR.title, types.CodeActionKind.QuickFix, data, reason)]


def _from_line_start(text: str, target: Target) -> Target:
    """The whole lines of the function: the model then sees its first line's indentation too."""
    first, _ = line_bounds(text, target.start, target.end)
    return Target(first if not text[first : target.start].strip() else target.start, target.end, target.name)


def _why_too_long(session: Session, target: Target) -> str | None:
    length, limit = target.end - target.start, session.settings.edit_max_characters
    return f"{target.name} has {length} characters, more than edit.maxCharacters ({limit})" if length > limit else None


def _action(
    session: Session,
    snapshot: DocumentSnapshot,
    normal: NormalisedText,
    target: Target,
    instruction: Instruction,
    reason: str | None,
) -> types.CodeAction:
    title = f"{instruction.title} ({target.name})"
    start, end = normal.to_original(target.start), normal.to_original(target.end)
    data = ActionData(snapshot.uri, snapshot.version, start, end, instruction.id)
    return _with_way_to_run(session, title, types.CodeActionKind.RefactorRewrite, data, reason)


def _fixes(
    session: Session, snapshot: DocumentSnapshot, diagnostics: object, reason: str | None
) -> list[types.CodeAction]:
    """One fix for each reported problem, on the function around it or else its lines."""
    actions = []
    normal = NormalisedText(snapshot.text)
    for diagnostic in list(diagnostics)[:_MAX_FIXES] if isinstance(diagnostics, (list, tuple)) else []:
        start, end = map(normal.from_original, snapshot.offsets_at(diagnostic.range))
        tree = session.tree_for(snapshot, normal.text, start, end)
        function = tree.enclosing_function(start, end) if tree is not None else None
        if function is not None:
            target = _from_line_start(normal.text, Target(function.start, function.end, function.name))
        else:
            target = Target(*line_bounds(normal.text, start, end), "line")
        if target.start == target.end or _why_too_long(session, target):
            continue
        message = " ".join(diagnostic.message.split())
        title = "Fix: " + (message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…")
        data = ActionData(
            snapshot.uri,
            snapshot.version,
            normal.to_original(target.start),
            normal.to_original(target.end),
            FIX.id,
            [diagnostic.message],
        )
        action = _with_way_to_run(session, title, types.CodeActionKind.QuickFix, data, reason)
        action.diagnostics = [diagnostic]
        actions.append(action)
    return actions


def _with_way_to_run(
    session: Session, title: str, kind: types.CodeActionKind, data: ActionData, reason: str | None
) -> types.CodeAction:
    """Resolved lazily where the client can, else run by a command that applies the edit itself."""
    action = types.CodeAction(title=title, kind=kind)
    if reason:
        action.disabled = types.CodeActionDisabled(reason)
    elif session.abilities.resolves_edit:
        action.data = to_wire(data)
    else:
        action.command = types.Command(title, COMMAND_APPLY_ACTION, arguments=[to_wire(data)])
    return action
