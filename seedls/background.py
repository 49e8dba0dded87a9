"""Work for a document that nobody asked for: it yields to every request, and nobody hears how it ended.

Owns how such work is claimed, released, and what becomes of its failures. It does not know what is done.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seedls.engine import Cancelled, EngineFailed, RequestError
from seedls.open_request import NoAnswer
from seedls.scheduler import AHEAD, JobKey, NotRun, StopSignal
from seedls.session import Session

_log = logging.getLogger("seedls")


@asynccontextmanager
async def unasked(session: Session, uri: str, what: str, deadline_ms: float | None = None) -> AsyncIterator[StopSignal]:
    """The stop signal of the block's work; `what` names it in the log. The block's errors end here.

    An engine that broke is loaded again, since no request comes by to see to it; work that was stopped, or had
    nothing to do, has no one to tell; anything else is logged by its type.
    """
    key, engine = JobKey(uri, AHEAD), session.engine
    signal = session.scheduler.claim(key, deadline_ms)
    try:
        yield signal
    except EngineFailed:
        await session.on_broken(engine)
    except (NotRun, NoAnswer, Cancelled, RequestError) as ended:
        _log.debug("%s ended early: %s", what, type(ended).__name__)
    except Exception as error:
        _log.error("%s failed: %s", what, type(error).__name__)
    finally:
        session.scheduler.release(key, signal)
