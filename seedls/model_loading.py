"""Loading the model in the background, telling the client, and loading it again once when it breaks.

Owns the engine's life: nothing else calls `load` or `close`. It does not know requests.
"""

from __future__ import annotations

import asyncio
import logging

from lsprotocol import types

from seedls.connection import SeedlsServer, log_failure
from seedls.engine import Engine, EngineFailed, model_stamp
from seedls.progress import WorkProgress
from seedls.protocol import STATE_CHANGED, StateChanged, to_wire
from seedls.scheduler import JobKey, NotRun, StopSignal

_log = logging.getLogger("seedls")
_LOAD = JobKey("", "load")
_LOOK_EVERY_S = 2.0


async def load_model(ls: SeedlsServer) -> bool:
    """Close the old engine, load a new one on the worker thread; the user hears of a failure. True when ready."""
    session = ls.session
    session.retired.append(session.engine)
    engine = session.engine = session.engine_factory(session.settings)
    loop = asyncio.get_running_loop()
    progress = WorkProgress(ls, "Loading model")

    def report(message: str, fraction: float) -> None:
        loop.call_soon_threadsafe(progress.report, message, fraction)

    def work(_: StopSignal) -> None:
        while session.retired:  # also those of loads that were superseded before they began
            session.retired.pop().close()
        engine.load(report)

    tell_state(ls, "loading", f"loading model {session.settings.model!r}")
    try:
        await session.scheduler.run(session.scheduler.claim(_LOAD), work)
    except NotRun:
        return False  # superseded by a later load, or shutting down
    except EngineFailed as error:
        ls.tell(str(error), types.MessageType.Error)
    except Exception as error:
        log_failure("loading the model", error)
        ls.tell(f"the model could not be loaded ({type(error).__name__}); see the log", types.MessageType.Error)
    finally:
        progress.end(engine.message)
    tell_state(ls, engine.state, engine.message)
    _log.info("model %s", engine.state)
    if engine.state == "failed":
        session.waiting = asyncio.ensure_future(_load_when_installed(ls, engine))
    return engine.state == "ready"


async def _load_when_installed(ls: SeedlsServer, broken: Engine) -> None:
    """Wait until the model's folder appears or changes, then load: nobody should have to restart an editor for that."""
    model = ls.session.settings.model
    before = model_stamp(model)
    while ls.session.engine is broken and not ls.session.scheduler.is_closed:
        await asyncio.sleep(_LOOK_EVERY_S)
        if model_stamp(model) != before and ls.session.engine is broken:
            _log.info("the model was installed or replaced")
            ls.session.num_recoveries = 0
            await load_model(ls)
            return


async def recover(ls: SeedlsServer, broken: Engine) -> None:
    """The engine failed under a request: load it again once, the second time say so."""
    session = ls.session
    if session.engine is not broken:
        return  # somebody else has replaced it already
    tell_state(ls, "failed", broken.message)
    if session.num_recoveries >= 1:
        ls.tell(f"{broken.message}; run the command seedls.restart to try again", types.MessageType.Error)
        return
    session.num_recoveries += 1
    _log.warning("the model broke and is loaded again")
    await load_model(ls)


def tell_state(ls: SeedlsServer, state: str, message: str) -> None:
    """Notify clients that listen to seedls/stateChanged."""
    ls.protocol.notify(STATE_CHANGED, to_wire(StateChanged(state, message)))
