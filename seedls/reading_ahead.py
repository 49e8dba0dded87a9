"""Read the text around a resting caret, so that the first completion there does not have to.

A caret that jumped makes everything of a prompt new: reading it takes seconds on a CPU, so a completion asked there
sees a narrow window or comes late. No message says where a caret is; but editors that show a light bulb ask for code
actions wherever it comes to rest. Owns when such a rest is worth reading. It does not know what is read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from lsprotocol import types

from seedls.background import unasked
from seedls.engine import CompletionRequest
from seedls.scene import Ask, completion_request, scene_at
from seedls.session import Session

REST_S = 0.25
"""A caret on its way is not followed. Editors wait about as long again before they ask for code actions."""
EDITED_WITHIN_S = 120.0
"""Who has not typed for longer is reading, and the processor is left alone."""


def caret_rests(session: Session, uri: str, position: types.Position) -> None:
    """Read what a completion there would need, unless the caret moves on or anything else is to do."""
    if session.reading_task is not None:
        session.reading_task.cancel()
        session.reading_task = None
    history = session.history.get(uri)
    if not session.settings.completion_read_ahead or history is None:
        return
    if time.monotonic() - history.changed_at <= EDITED_WITHIN_S:
        session.reading_task = asyncio.ensure_future(_read(session, uri, position))


async def _read(session: Session, uri: str, position: types.Position) -> None:
    await asyncio.sleep(REST_S)
    if not session.scheduler.is_idle:
        return  # a completion asked here reads by itself
    async with unasked(session, uri, "reading ahead") as signal:
        engine = session.engine
        request = _hurried(session, completion_request(session, scene_at(session, Ask("readAhead", uri, position))))
        finished = await session.scheduler.run(signal, lambda stop: engine.read_ahead(request, stop.is_set))
        session.metrics.count("readAhead.tokens", finished.value)


def _hurried(session: Session, request: CompletionRequest) -> CompletionRequest:
    """With the deadline of a completion: the window that leaves time for comes first."""
    deadline_ms = float(session.settings.completion_deadline_ms)
    return replace(request, params=replace(request.params, deadline_ms=deadline_ms))
