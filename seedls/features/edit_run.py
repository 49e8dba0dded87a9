"""seedls/editRun: an edit that forms step by step under the user's eyes, to be stopped and taken at any of them.

The client pulls: the model only works while a step is asked for, so completions come in between and a client that goes
away costs nothing. What is shown is always a whole, checked text as minimal edits of the newest version.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from lsprotocol import types

from seedls.connection import SeedlsServer, log_failure
from seedls.engine import Cancelled, EngineFailed, RequestError
from seedls.instructions import INSTRUCTIONS, target_of
from seedls.line_endings import NormalisedText
from seedls.model_loading import recover
from seedls.open_request import NoAnswer
from seedls.progress import WorkProgress
from seedls.protocol import CUSTOM_INSTRUCTION, ActionData, EditRunRequest, EditRunStart, EditRunState, to_wire
from seedls.rewrite import Rewritten, checked_replacements, edit_request, on_newest
from seedls.running_edits import RunningEdit
from seedls.scheduler import JobKey, NotRun
from seedls.text_edits import to_workspace_edit
from seedls.wire_values import plain

_UNFINISHED = ("deadline", "length", "cancelled", "low_confidence")
_CUSTOM_TITLE = "Edit"


def start(ls: SeedlsServer, params: Any) -> dict[str, Any]:
    """seedls/editRun/start: begin a run; the model does nothing until the first step is asked for."""
    try:
        run = _begin(ls, EditRunStart.from_wire(plain(params)))
    except (ValueError, NoAnswer) as wrong:
        return to_wire(EditRunState("", "failed", str(wrong)))
    ls.session.edit_runs.add(run)
    progress = WorkProgress(ls, run.title, on_cancel=lambda: _stop(ls, run, "cancelled"))
    run.on_change = lambda: _report(run, progress)
    return _answer(ls, run)


async def step(ls: SeedlsServer, params: Any) -> dict[str, Any]:
    """seedls/editRun/step: let the model work for a moment; answers what can be shown then."""
    request, run = _find(ls, params)
    if run is None:
        return _unknown(request)
    if run.state == "running":
        await _advance(ls, run, request.milliseconds / 1000)
    return _answer(ls, run)


async def accept(ls: SeedlsServer, params: Any) -> dict[str, Any]:
    """seedls/editRun/accept: apply through the client what was shown last; the run is over."""
    request, run = _find(ls, params)
    if run is None:
        return _unknown(request)
    answer = _answer(ls, run)
    rewritten = _shown(ls, run)
    if rewritten is None:
        return answer
    _stop(ls, run, "accepted")
    ls.session.edit_runs.remove(run)
    edit = to_workspace_edit(
        rewritten.snapshot, rewritten.replacements, run.title, ls.session.abilities.edit, needs_confirmation=False
    )
    applied = await ls.workspace_apply_edit_async(types.ApplyWorkspaceEditParams(edit=edit, label=run.title))
    if not applied.applied:
        run.state, run.reason = "failed", applied.failure_reason or "the editor did not apply the edit"
    return {**answer, "state": run.state, "reason": run.reason}


def cancel(ls: SeedlsServer, params: Any) -> dict[str, Any]:
    """seedls/editRun/cancel: stop the model and forget the run; nothing was applied."""
    request, run = _find(ls, params)
    if run is None:
        return _unknown(request)
    _stop(ls, run, "cancelled")
    ls.session.edit_runs.remove(run)
    return to_wire(EditRunState(run.id, run.state, run.reason, run.snapshot.version))


def _begin(ls: SeedlsServer, asked: EditRunStart) -> RunningEdit:
    """ValueError or NoAnswer say why there is no run."""
    session = ls.session
    snapshot = session.documents.get(asked.uri)
    if snapshot is None:
        raise ValueError(f"{asked.uri!r} is not an open document")
    normal = NormalisedText(snapshot.text)
    start, end = 0, len(snapshot.text)
    if asked.range is not None:
        first, last = map(normal.from_original, snapshot.offsets_at(asked.range))
        target = target_of(normal.text, first, last, session.tree_for(snapshot, normal.text, first, last))
        if target is None:
            raise ValueError("there is nothing to edit: select some code, or put the cursor into a function")
        start, end = normal.to_original(target.start), normal.to_original(target.end)
    known = INSTRUCTIONS.get(asked.instruction)
    data = ActionData(
        snapshot.uri,
        snapshot.version,
        start,
        end,
        known.id if known is not None else CUSTOM_INSTRUCTION,
        list(asked.diagnostics),
        asked.instruction,
    )
    _, request, normal = edit_request(session, data)
    spans = [tuple(map(normal.from_original, snapshot.offsets_at(span))) for span in asked.pinned]
    request = replace(
        request,
        pinned=tuple((span[0], span[1]) for span in spans),
        params=replace(request.params, deadline_ms=None),
    )
    signal = session.scheduler.claim(JobKey(snapshot.uri, "edit"))
    return RunningEdit(snapshot, request, normal, signal, known.title if known is not None else _CUSTOM_TITLE)


async def _advance(ls: SeedlsServer, run: RunningEdit, seconds: float) -> None:
    """Let the model work; the run's state says how that ended."""
    session, engine = ls.session, ls.session.engine
    try:
        await session.scheduler.run(
            run.signal, lambda stop: run.advance(lambda: engine.edit(run.request, stop), seconds)
        )
    except NotRun as stopped:
        _end(ls, run, "cancelled", {"superseded": "a newer edit replaced it"}.get(stopped.reason, stopped.reason))
    except (Cancelled, RequestError) as error:
        _end(ls, run, "failed", str(error))
    except EngineFailed as error:
        _end(ls, run, "failed", str(error))
        await recover(ls, engine)
    except Exception as error:
        log_failure("seedls/editRun/step", error)
        _end(ls, run, "failed", "the edit failed; see the log")
    _look(ls, run)


def _look(ls: SeedlsServer, run: RunningEdit) -> None:
    """Check the newest text; one that may not be shown leaves the one before."""
    text, newest = run.text_to_check(), run.newest
    if text is not None and newest is not None:
        started = time.monotonic()
        reason = ""
        try:
            run.shown = checked_replacements(ls.session, run.snapshot, run.normal, run.request, text)
        except NoAnswer as nothing:
            reason = nothing.reason
            if text == run.request.text:
                run.shown = []
        run.note_check(text, time.monotonic() - started)
        if newest.is_final and run.state == "running":
            is_cut = newest.finish_reason in _UNFINISHED
            state = "stopped" if is_cut or (reason and run.shown) else "done"
            _end(ls, run, state, f"the model did not finish ({newest.finish_reason})" if is_cut else reason)
    run.on_change()


def _stop(ls: SeedlsServer, run: RunningEdit, state: Any) -> None:
    run.signal.stop(state)
    _end(ls, run, state, "")


def _end(ls: SeedlsServer, run: RunningEdit, state: Any, reason: str) -> None:
    if state == "accepted" or run.state in ("running", "done", "stopped"):
        run.state, run.reason = state, reason
    ls.session.scheduler.release(JobKey(run.snapshot.uri, "edit"), run.signal)
    run.steps = None
    run.on_change()


def _shown(ls: SeedlsServer, run: RunningEdit) -> Rewritten | None:
    """What was shown last, moved over what was typed meanwhile; None when there is nothing, or no way."""
    if not run.shown or run.state not in ("running", "done", "stopped"):
        return None
    try:
        return on_newest(ls.session, run.snapshot, run.shown)
    except NoAnswer as nothing:
        run.signal.stop("closed")
        _end(ls, run, "stale", nothing.reason)
        return None


def _answer(ls: SeedlsServer, run: RunningEdit) -> dict[str, Any]:
    rewritten = _shown(ls, run)
    newest = run.newest
    state = EditRunState(run.id, run.state, run.reason, run.snapshot.version, fraction=run.fraction)
    if newest is not None:
        state = replace(state, tokens=newest.tokens, forwards=newest.forwards)
    if rewritten is not None:
        edits = [
            {"range": _wire_range(rewritten.snapshot.range_at(hunk.start, hunk.end)), "newText": hunk.new_text}
            for hunk in rewritten.replacements
        ]
        state = replace(state, version=rewritten.snapshot.version, edits=edits)
    return to_wire(state)


def _wire_range(span: types.Range) -> dict[str, Any]:
    places = {"start": span.start, "end": span.end}
    return {name: {"line": place.line, "character": place.character} for name, place in places.items()}


def _find(ls: SeedlsServer, params: Any) -> tuple[EditRunRequest, RunningEdit | None]:
    request = EditRunRequest.from_wire(plain(params))
    return request, ls.session.edit_runs.get(request.run)


def _unknown(request: EditRunRequest) -> dict[str, Any]:
    return to_wire(EditRunState(request.run, "failed", "there is no such edit run"))


def _report(run: RunningEdit, progress: WorkProgress) -> None:
    if run.state == "running":
        progress.report("", run.fraction)
    else:
        progress.end(run.state)
