"""`$/progress` for long work, where the client shows it; silent where it does not.

Owns token and order of the notifications (create, begin, report, end). It does not know the work.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from lsprotocol import types

from seedls.connection import SeedlsServer


class WorkProgress:
    """One progress item. Created on the event loop; `report` and `end` too."""

    def __init__(self, ls: SeedlsServer, title: str, on_cancel: Callable[[], None] | None = None) -> None:
        self._ls = ls
        self._title = title
        self._on_cancel = on_cancel
        self._token = f"seedls-{uuid.uuid4()}"
        self._has_begun = False
        self._has_ended = False
        self._task: asyncio.Task[None] | None = None
        if ls.session.abilities.work_done_progress:
            self._task = asyncio.ensure_future(self._begin())

    async def _begin(self) -> None:
        """Ask for the token first; a client that refuses or never answers just sees no progress."""
        progress = self._ls.work_done_progress
        try:
            await progress.create_async(self._token)
        except Exception:
            return
        if self._has_ended:
            return
        self._has_begun = True
        progress.begin(
            self._token,
            types.WorkDoneProgressBegin(title=self._title, cancellable=self._on_cancel is not None, percentage=0),
        )
        progress.tokens[self._token].add_done_callback(lambda future: self._cancelled() if future.cancelled() else None)

    def _cancelled(self) -> None:
        if self._on_cancel is not None and not self._has_ended:
            self._on_cancel()

    def report(self, message: str, fraction: float) -> None:
        """Say how far it is, 0..1."""
        if self._has_begun and not self._has_ended:
            percentage = int(100 * min(1.0, max(0.0, fraction)))
            value = types.WorkDoneProgressReport(message=message, percentage=percentage)
            self._ls.work_done_progress.report(self._token, value)

    def end(self, message: str) -> None:
        """Close it; once."""
        if self._has_begun and not self._has_ended:
            self._ls.work_done_progress.end(self._token, types.WorkDoneProgressEnd(message=message))
            self._ls.work_done_progress.tokens.pop(self._token, None)
        self._has_ended = True
