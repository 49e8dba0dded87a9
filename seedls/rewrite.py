"""From a chosen rewrite to minimal replacements that are safe to apply, or the reason why there are none.

Owns the checks every model edit must pass. It does not know code actions, commands or the wire.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from seedls.documents import DocumentSnapshot
from seedls.edit_checks import Edit, reason_not_to_offer, scope_of
from seedls.engine import Cancelled, EditRequest, EditStep, RequestError, SamplingParams
from seedls.instructions import INSTRUCTIONS
from seedls.line_endings import NormalisedText
from seedls.metrics import RequestReport
from seedls.protocol import CUSTOM_INSTRUCTION, ActionData
from seedls.scheduler import JobKey, NotRun, StopSignal
from seedls.session import Session
from seedls.syntax import parse
from seedls.text_edits import Replacement, apply_replacements, minimal_replacements, rebase

_REQUEST = "codeAction/resolve"
_UNFINISHED = ("deadline", "length", "cancelled", "low_confidence")


class NoEdit(Exception):
    """There is nothing to apply; outcome and reason as in `seedls.explainLast`."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Replacements that are valid on `snapshot`, the newest version when the model had finished."""

    snapshot: DocumentSnapshot
    replacements: tuple[Replacement, ...]


async def rewrite(session: Session, data: ActionData) -> Rewritten:
    """Run the model on the chosen range; raises NoEdit when nothing may be applied."""
    started = time.monotonic()
    key = JobKey(data.uri, "edit")
    signal = session.scheduler.claim(key)
    report = RequestReport(_REQUEST, "shown", data.instruction, 0.0)
    try:
        snapshot, request, normal = edit_request(session, data)
        engine = session.engine

        def work(stop: StopSignal) -> EditStep | None:
            answer: EditStep | None = None
            for step in engine.edit(request, stop):
                answer = step  # each step is a whole candidate: only the last counts
            return answer

        finished = await session.scheduler.run(signal, work)
        report = replace(report, queue_ms=finished.queue_ms, run_ms=finished.run_ms)
        if (step := finished.value) is not None:
            report = replace(report, tokens=step.tokens, forwards=step.forwards)
        replacements = _checked(session, snapshot, normal, request, finished.value)
        return on_newest(session, snapshot, replacements)
    except NoEdit as nothing:
        report = replace(report, outcome=nothing.outcome, reason=nothing.reason)
        raise
    except NotRun as stopped:
        report = replace(report, outcome=stopped.reason, reason="a newer rewrite replaced it")
        raise NoEdit(report.outcome, report.reason) from None
    except Cancelled:
        report = replace(report, outcome="cancelled", reason="the rewrite was stopped")
        raise NoEdit(report.outcome, report.reason) from None
    except RequestError as error:
        report = replace(report, outcome="failed", reason=str(error))
        raise NoEdit(report.outcome, report.reason) from None
    except asyncio.CancelledError:
        signal.stop("cancelled")
        report = replace(report, outcome="cancelled", reason="the editor cancelled the request")
        raise
    except Exception:
        report = replace(report, outcome="failed", reason="the request failed; see the log")
        raise
    finally:
        session.scheduler.release(key, signal)
        session.metrics.record(replace(report, total_ms=(time.monotonic() - started) * 1000))


def edit_request(session: Session, data: ActionData) -> tuple[DocumentSnapshot, EditRequest, NormalisedText]:
    """What the model is asked, in `\\n`-only text; raises NoEdit."""
    if session.engine.state != "ready":
        raise NoEdit("quiet", f"the model is not ready: {session.engine.message}")
    prompt = _prompt(data)
    if session.is_excluded(data.uri):
        raise NoEdit("quiet", "the file is excluded")
    snapshot = session.documents.at_version(data.uri, data.version)
    if snapshot is None:
        raise NoEdit("stale", "the document changed since the action was offered")
    if not 0 <= data.start < data.end <= len(snapshot.text):
        raise NoEdit("failed", f"the range {data.start}-{data.end} is not in the document")
    normal = NormalisedText(snapshot.text)
    request = EditRequest(
        text=normal.text,
        instruction=prompt,
        start=normal.from_original(data.start),
        end=normal.from_original(data.end),
        path=session.relative_path(data.uri),
        language=snapshot.language_id or None,
        diagnostics=tuple(data.diagnostics),
        params=SamplingParams(
            policy=session.settings.policy,  # type: ignore[arg-type]  # checked against the choices of the table
            max_tokens=session.settings.edit_max_tokens,
            deadline_ms=session.settings.edit_deadline_ms,
        ),
    )
    return snapshot, request, normal


def _prompt(data: ActionData) -> str:
    """What the model is told; raises NoEdit."""
    if data.instruction == CUSTOM_INSTRUCTION:
        if not data.prompt:
            raise NoEdit("quiet", "the instruction is empty")
        return data.prompt
    instruction = INSTRUCTIONS.get(data.instruction)
    if instruction is None:
        raise NoEdit("failed", f"unknown instruction {data.instruction!r}")
    return instruction.prompt


def _checked(
    session: Session, snapshot: DocumentSnapshot, normal: NormalisedText, request: EditRequest, step: EditStep | None
) -> list[Replacement]:
    """Minimal replacements of the original text; raises NoEdit when the answer breaks a promise."""
    if step is None or not step.is_final or step.finish_reason in _UNFINISHED:
        raise NoEdit("quiet", f"the model did not finish ({step.finish_reason if step else 'no answer'})")
    return checked_replacements(session, snapshot, normal, request, step.text)


def checked_replacements(
    session: Session, snapshot: DocumentSnapshot, normal: NormalisedText, request: EditRequest, new: str
) -> list[Replacement]:
    """From the snapshot's text to `new`, an answer to `request`; raises NoEdit for what may not be shown."""
    old = request.text
    end = len(old) if request.end is None else request.end
    tail = len(old) - end
    is_inside = (
        len(new) >= request.start + tail
        and new[: request.start] == old[: request.start]
        and new[len(new) - tail :] == old[end:]
    )
    if not is_inside:
        raise NoEdit("quiet", "the answer touched text outside the selection")
    region = old[request.start : end]
    hunks = minimal_replacements(region, new[request.start : len(new) - tail])
    if not hunks:
        raise NoEdit("quiet", "the model found nothing to change")
    if not new[request.start : len(new) - tail].strip():
        raise NoEdit("quiet", "the answer would delete the selection")
    tree = parse(snapshot.language_id, old)
    if tree is not None:
        edit = Edit(tree, new, request.start, end, request.instruction, scope_of(request.instruction))
        if (reason := reason_not_to_offer(edit)) is not None:
            raise NoEdit("quiet", reason.replace("it ", "the answer ", 1))
    replacements = [
        Replacement(
            normal.to_original(request.start + hunk.start),
            normal.to_original(request.start + hunk.end),
            normal.restored(hunk.new_text),
        )
        for hunk in hunks
    ]
    result = apply_replacements(snapshot.text, replacements)
    if NormalisedText(result).text != new:
        # Where lone CR and LF are mixed, a deletion can push two of them together into one line ending.
        raise NoEdit("quiet", "the answer cannot be written with this file's line endings")
    if result in session.documents.earlier_texts(snapshot.uri):
        raise NoEdit("quiet", "the answer would undo your last edit")
    return replacements


def on_newest(session: Session, snapshot: DocumentSnapshot, replacements: list[Replacement]) -> Rewritten:
    """Move the replacements over what was typed meanwhile, or give up."""
    newest = session.documents.get(snapshot.uri)
    if newest is None:
        raise NoEdit("stale", "the document was closed")
    moved = rebase(replacements, snapshot.text, newest.text)
    if moved is None:
        raise NoEdit("stale", "the document changed in the same place while the model worked")
    return Rewritten(newest, tuple(moved))
