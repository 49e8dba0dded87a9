"""From a cursor to what the model is asked there: the gates that need no model, the texts around it, the request.

Owns the order of the gates and the reason for every silence before the model. It does not know which request asked
(`inlineCompletion`, `completion`, a resting caret), what becomes of the answer, nor wire types beyond positions.
"""

from __future__ import annotations

from dataclasses import dataclass

from lsprotocol import types

from seedls.completion_filters import Place
from seedls.context import Window, completion_window, is_multi_line_wanted
from seedls.documents import DocumentSnapshot
from seedls.engine import CompletionRequest, SamplingParams, StopRules
from seedls.line_endings import NormalisedText
from seedls.open_request import NoAnswer
from seedls.repository_context import with_snippets
from seedls.session import Session
from seedls.syntax import SyntaxTree

_CLOSERS_AND_BLANKS = " \t)]}>\"'`,;:"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for text at a cursor."""

    request: str
    """Name for reports."""
    uri: str
    position: types.Position
    is_invoked: bool = False
    selected: types.SelectedCompletionInfo | None = None
    """The entry chosen in the completion menu, which the answer must extend."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the steps share; texts use `\\n`."""

    ask: Ask
    snapshot: DocumentSnapshot
    normal: NormalisedText
    place: Place
    tree: SyntaxTree | None
    lead: str
    """Text of the selected menu entry, or "": the answer starts with it."""
    span: types.Range


def scene_at(session: Session, ask: Ask) -> Scene:
    """Check every gate that needs no model; raises NoAnswer."""
    settings = session.settings
    snapshot = session.documents.get(ask.uri)
    if snapshot is None:
        raise NoAnswer("quiet", "the document is not open")
    if not settings.completion_enabled:
        raise NoAnswer("quiet", "completion.enabled is false")
    if settings.completion_mode == "subtle" and not ask.is_invoked:
        raise NoAnswer("quiet", "completion.mode is subtle and nobody asked")
    if snapshot.language_id in settings.completion_disabled_languages:
        raise NoAnswer("quiet", f"completions are off for language {snapshot.language_id!r}")
    if session.is_excluded(ask.uri):
        raise NoAnswer("quiet", "the file is excluded")
    if session.engine.state != "ready":
        raise NoAnswer("quiet", f"the model is not ready: {session.engine.message}")
    return _with_texts(session, ask, snapshot)


def _with_texts(session: Session, ask: Ask, snapshot: DocumentSnapshot) -> Scene:
    """Split the text at the cursor, or around the selected menu entry."""
    normal = NormalisedText(snapshot.text)
    if "\0" in normal.text:
        raise NoAnswer("quiet", "the file is binary")
    start = end = normal.from_original(snapshot.offset_at(ask.position))
    lead = ""
    if ask.selected is not None:
        chosen = tuple(map(normal.from_original, snapshot.offsets_at(ask.selected.range)))
        is_extension = chosen[0] <= start <= chosen[1] and ask.selected.text.startswith(normal.text[chosen[0] : start])
        # Some clients send the visual selection here: that is not a menu entry, and is ignored.
        if is_extension and "\n" not in normal.text[chosen[0] : chosen[1]] + ask.selected.text:
            start, end = chosen
            lead = ask.selected.text
    place = Place(normal.text[:start] + lead, normal.text[end:])
    if not ask.is_invoked and not (place.before.strip() or place.after.strip()):
        raise NoAnswer("quiet", "the file is empty: there is nothing to go by")
    tree = session.tree_for(snapshot, normal.text, start, end)
    if tree is not None and not ask.is_invoked:
        if not session.settings.completion_in_comments and tree.is_in_comment(start):
            raise NoAnswer("quiet", "the cursor is in a comment")
        if not session.settings.completion_in_strings and tree.is_in_string(start):
            raise NoAnswer("quiet", "the cursor is in a string")
    if ask.selected is None:
        cursor = snapshot.clamped(ask.position)
        span = types.Range(cursor, cursor)
    else:
        span = snapshot.range_at(normal.to_original(start), normal.to_original(end))
    return Scene(ask, snapshot, normal, place, tree, lead, span)


def completion_request(session: Session, scene: Scene) -> CompletionRequest:
    """What the model is asked, without a deadline."""
    settings = session.settings
    window: Window = completion_window(
        scene.place.before + scene.place.after,
        len(scene.place.before),
        settings.context_prefix_characters,
        settings.context_suffix_characters,
        None if scene.lead else scene.tree,
    )
    shown = session.shown.get(scene.ask.uri)
    language = scene.snapshot.language_id
    snippets = session.context_for(scene.ask.uri, language, window.prefix, window.suffix, scene.ask.position.line)
    return CompletionRequest(
        prefix=with_snippets(window.prefix, snippets, language),
        suffix=window.suffix,
        path=session.relative_path(scene.ask.uri),
        language=language or None,
        draft=shown.draft_for(scene.place.before, scene.place.after) if shown is not None else "",
        stop=StopRules(max_lines=settings.completion_max_lines if is_multi_line(scene) else 1, stop_at_dedent=True),
        params=SamplingParams(
            policy=settings.policy,  # type: ignore[arg-type]  # checked against the choices of the table
            max_tokens=settings.completion_max_tokens,
        ),
    )


def is_multi_line(scene: Scene) -> bool:
    """True where more than one line may be inserted."""
    place = scene.place
    if scene.ask.is_invoked and not place.line_after.strip(_CLOSERS_AND_BLANKS):
        return not place.line_after.strip()
    return is_multi_line_wanted(place.before + place.after, len(place.before))


def tree_with_lead(scene: Scene) -> SyntaxTree | None:
    """The parse of the text with the selected menu entry in it."""
    tree = scene.tree
    if tree is None or not scene.lead:
        return tree
    extended = scene.place.before + scene.place.after
    return tree.reparsed(extended[tree.origin : tree.end + len(extended) - len(scene.normal.text)])
