"""From a cursor to the texts worth showing there: what is remembered, model, filters.

Owns the order of these steps and the reason for every silence. It does not know which request asked (`inlineCompletion`
or `completion`) nor its wire types.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from lsprotocol import types

from seedls.background import unasked
from seedls.completion_filters import (
    Filtered,
    Place,
    cut_weak_lines,
    drop_unfinished_line,
    filter_completion,
    indent_unit,
)
from seedls.documents import DocumentSnapshot
from seedls.edit_history import EditHistory
from seedls.engine import Cancelled, CompletionRequest, CompletionResult
from seedls.open_request import NoAnswer, OpenRequest, open_request
from seedls.scene import Ask, Scene, completion_request, is_multi_line, scene_at, tree_with_lead
from seedls.scheduler import Finished, JobKey, NotRun, StopSignal
from seedls.session import Session, ShownCompletion

_INVOKED_DEADLINE_FACTOR = 3
"""Who asks explicitly waits longer than who types."""
_MORE_CANDIDATES_WITHIN_S = 0.6
"""After this time no further candidate is begun: who pressed the key wants to see the first."""


@dataclass(frozen=True, slots=True)
class Suggestions:
    """Texts to put into `span` of `snapshot`, best first, with the file's line endings."""

    snapshot: DocumentSnapshot
    span: types.Range
    texts: tuple[str, ...]
    id: str


async def suggest(session: Session, ask: Ask) -> Suggestions | None:
    """The texts to show, or None; either way the session's metrics know why."""
    try:
        with open_request(session, ask.request, JobKey(ask.uri, "completion"), _deadline_ms(session, ask)) as request:
            return await _answer(session, scene_at(session, ask), request)
    except NoAnswer:
        return None


def _deadline_ms(session: Session, ask: Ask) -> float:
    return session.settings.completion_deadline_ms * (_INVOKED_DEADLINE_FACTOR if ask.is_invoked else 1)


async def _answer(session: Session, scene: Scene, request: OpenRequest) -> Suggestions:
    """From the cache of what is being typed into, else from the model; raises NoAnswer."""
    remembered = () if scene.ask.is_invoked else (session.shown.get(scene.ask.uri), session.ahead.get(scene.ask.uri))
    for known, reason in zip(remembered, ("continues what was shown", "was computed ahead"), strict=False):
        rest = known.rest_after_typing(scene.place.before, scene.place.after) if known and not scene.lead else None
        if known is not None and rest is not None and rest.strip():
            session.shown[scene.ask.uri] = known
            request.because(reason)
            return _suggestions(scene, [rest], known.id)
    await _pause_in_typing(session, scene, request.signal)
    finished = await _ask_model(session, scene, request.signal)
    results = finished.value
    request.ran(finished, sum(one.tokens for one in results), sum(one.forwards for one in results))
    filtered = [_filtered(session, scene, result) for result in results]
    texts = list(dict.fromkeys(one.text for one in filtered if one.text))
    if not texts:
        raise NoAnswer("quiet", filtered[0].reason)
    completion_id = uuid.uuid4().hex
    session.shown[scene.ask.uri] = ShownCompletion(scene.place.before, scene.place.after, texts[0], completion_id)
    current = session.documents.get(scene.ask.uri)
    if current is None or not current.same_text_as(scene.snapshot):
        # Not lost: if the user typed the beginning of it, the next request finds it in `shown`.
        raise NoAnswer("stale", "the document changed while the model worked")
    if session.settings.completion_look_ahead:
        session.ahead_task = asyncio.ensure_future(_look_ahead(session, scene, texts[0]))
    request.because(results[0].finish_reason)
    return _suggestions(scene, texts, completion_id)


async def _look_ahead(session: Session, scene: Scene, text: str) -> None:
    """Compute what follows a shown text as if it had been accepted; any other request ends this."""
    await asyncio.sleep(0)  # the answer that this follows is sent first
    async with unasked(session, scene.ask.uri, "looking ahead", session.settings.completion_deadline_ms) as signal:
        place = Place(scene.place.before + text, scene.place.after)
        tree = scene.tree
        if tree is not None:
            whole = place.before + place.after
            tree = tree.reparsed(whole[tree.origin : tree.end + len(whole) - len(scene.normal.text)])
        later = replace(scene, ask=replace(scene.ask, is_invoked=False), place=place, tree=tree, lead="")
        finished = await _ask_model(session, later, signal)
        follows = _filtered(session, later, finished.value[0]).text
        if follows:
            ahead = ShownCompletion(place.before, place.after, follows, uuid.uuid4().hex)
            session.ahead[scene.ask.uri] = ahead


async def _pause_in_typing(session: Session, scene: Scene, signal: StopSignal) -> None:
    """Wait a moment while the user types: a newer request then replaces this one before the model starts."""
    if scene.ask.is_invoked:
        return
    settings = session.settings
    shortest, longest = settings.completion_debounce_ms / 1000, settings.completion_debounce_max_ms / 1000
    history = session.history.get(scene.ask.uri)
    seconds = pause_before_model(scene.place.line_before, history, shortest, longest, time.monotonic())
    if seconds > 0:
        await asyncio.sleep(seconds)
        if signal.is_set():
            raise NotRun(signal.reason)


def pause_before_model(
    line_before: str, history: EditHistory | None, shortest: float, longest: float, now: float
) -> float:
    """Seconds to wait, counted from now. Inside a word the next keystroke is near: wait a little longer than this user
    takes for one. Time that the client has waited already counts."""
    interval = history.typing_interval_s() if history is not None else None
    is_in_word = line_before[-1:].isalnum() or line_before.endswith("_")
    pause = shortest
    if is_in_word and interval is not None:
        pause = max(shortest, min(longest, 1.3 * interval))
    waited = now - history.changed_at if history is not None and history.changed_at else 0.0
    return max(0.0, pause - waited)


async def _ask_model(session: Session, scene: Scene, signal: StopSignal) -> Finished[list[CompletionResult]]:
    engine = session.engine
    request = completion_request(session, scene)
    count = session.settings.completion_candidates if scene.ask.is_invoked else 1

    def work(stop: StopSignal) -> list[CompletionResult]:
        started = time.monotonic()
        best = engine.complete(_within(request, stop.milliseconds_left()), stop.is_set)
        left_ms = (_MORE_CANDIDATES_WITHIN_S - (time.monotonic() - started)) * 1000
        if count == 1 or left_ms <= 0 or stop() or not best.text.strip():
            return [best]
        # The first one is verified again rather than written: its text is the draft.
        others = engine.candidates(_within(replace(request, draft=best.text), left_ms), count, stop.is_set)
        return [best, *others[1:]]

    try:
        return await session.scheduler.run(signal, work)
    except Cancelled:
        raise NoAnswer("cancelled", "stopped before there was anything to show") from None


def _within(request: CompletionRequest, deadline_ms: float | None) -> CompletionRequest:
    return replace(request, params=replace(request.params, deadline_ms=deadline_ms))


def _filtered(session: Session, scene: Scene, result: CompletionResult) -> Filtered:
    """Confidence first (it needs the model's own token boundaries), then the text rules."""
    if result.finish_reason == "cancelled":
        return Filtered("", "the model was stopped")
    if not result.text.strip():
        return Filtered("", f"the model had nothing to add ({result.finish_reason})")
    minimum = session.settings.completion_min_confidence
    text = cut_weak_lines(result.text, result.token_ends, result.token_probs, minimum)
    if not text.strip() or (not result.token_ends and result.confidence < minimum):
        return Filtered("", f"the model was not sure enough ({result.confidence:.2f} < {minimum:.2f})")
    several = is_multi_line(scene)
    if text == result.text and result.finish_reason in ("deadline", "length") and several:
        text = drop_unfinished_line(text)
    unit = indent_unit(scene.normal.text)
    tree = tree_with_lead(scene)
    return filter_completion(text, scene.place, is_multi_line=several, indent_unit=unit, tree=tree)


def _suggestions(scene: Scene, texts: list[str], completion_id: str) -> Suggestions:
    restore: Callable[[str], str] = scene.normal.restored
    return Suggestions(scene.snapshot, scene.span, tuple(restore(scene.lead + text) for text in texts), completion_id)
