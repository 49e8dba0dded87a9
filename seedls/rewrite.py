"""From a chosen rewrite to minimal replacements that are safe to apply, or the reason why there are none.

Owns the checks every model edit must pass. It does not know code actions, commands or the wire.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedls.documents import DocumentSnapshot
from seedls.edit_checks import Edit, reason_not_to_offer, scope_of
from seedls.engine import Cancelled, EditRequest, EditStep, RequestError, SamplingParams
from seedls.instructions import INSTRUCTIONS
from seedls.line_endings import NormalisedText
from seedls.open_request import NoAnswer, OpenRequest, open_request
from seedls.protocol import CUSTOM_INSTRUCTION, ActionData
from seedls.scheduler import JobKey, StopSignal
from seedls.session import Session
from seedls.syntax import parse
from seedls.text_edits import Replacement, apply_replacements, minimal_replacements, rebase

REQUEST = "codeAction/resolve"
_UNFINISHED = ("deadline", "length", "cancelled", "low_confidence")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Replacements that are valid on `snapshot`, the newest version when the model had finished."""

    snapshot: DocumentSnapshot
    replacements: tuple[Replacement, ...]


async def rewrite(session: Session, data: ActionData) -> Rewritten:
    """Run the model on the chosen range; raises NoAnswer when nothing may be applied."""
    with open_request(session, REQUEST, JobKey(data.uri, "edit")) as opened:
        opened.because(data.instruction)
        snapshot, request, normal = edit_request(session, data)
        step = await _last_step(session, request, opened)
        replacements = _checked(session, snapshot, normal, request, step)
        return on_newest(session, snapshot, replacements)


async def _last_step(session: Session, request: EditRequest, opened: OpenRequest) -> EditStep | None:
    """Each step is a whole candidate: only the last counts."""
    engine = session.engine

    def work(stop: StopSignal) -> EditStep | None:
        answer: EditStep | None = None
        for step in engine.edit(request, stop):
            answer = step
        return answer

    try:
        finished = await session.scheduler.run(opened.signal, work)
    except Cancelled:
        raise NoAnswer("cancelled", "the rewrite was stopped") from None
    except RequestError as error:
        raise NoAnswer("failed", str(error)) from None
    last = finished.value
    opened.ran(finished, last.tokens if last else 0, last.forwards if last else 0)
    return last


def edit_request(session: Session, data: ActionData) -> tuple[DocumentSnapshot, EditRequest, NormalisedText]:
    """What the model is asked, in `\\n`-only text; raises NoAnswer."""
    if session.engine.state != "ready":
        raise NoAnswer("quiet", f"the model is not ready: {session.engine.message}")
    prompt = _prompt(data)
    if session.is_excluded(data.uri):
        raise NoAnswer("quiet", "the file is excluded")
    snapshot = session.documents.at_version(data.uri, data.version)
    if snapshot is None:
        raise NoAnswer("stale", "the document changed since the action was offered")
    if not 0 <= data.start < data.end <= len(snapshot.text):
        raise NoAnswer("failed", f"the range {data.start}-{data.end} is not in the document")
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
    """What the model is told; raises NoAnswer."""
    if data.instruction == CUSTOM_INSTRUCTION:
        if not data.prompt:
            raise NoAnswer("quiet", "the instruction is empty")
        return data.prompt
    instruction = INSTRUCTIONS.get(data.instruction)
    if instruction is None:
        raise NoAnswer("failed", f"unknown instruction {data.instruction!r}")
    return instruction.prompt


def _checked(
    session: Session, snapshot: DocumentSnapshot, normal: NormalisedText, request: EditRequest, step: EditStep | None
) -> list[Replacement]:
    """Minimal replacements of the original text; raises NoAnswer when the answer breaks a promise."""
    if step is None or not step.is_final or step.finish_reason in _UNFINISHED:
        raise NoAnswer("quiet", f"the model did not finish ({step.finish_reason if step else 'no answer'})")
    return checked_replacements(session, snapshot, normal, request, step.text)


def checked_replacements(
    session: Session, snapshot: DocumentSnapshot, normal: NormalisedText, request: EditRequest, new: str
) -> list[Replacement]:
    """From the snapshot's text to `new`, an answer to `request`; raises NoAnswer for what may not be shown."""
    old = request.text
    end = len(old) if request.end is None else request.end
    tail = len(old) - end
    is_inside = (
        len(new) >= request.start + tail
        and new[: request.start] == old[: request.start]
        and new[len(new) - tail :] == old[end:]
    )
    if not is_inside:
        raise NoAnswer("quiet", "the answer touched text outside the selection")
    region = old[request.start : end]
    hunks = minimal_replacements(region, new[request.start : len(new) - tail])
    if not hunks:
        raise NoAnswer("quiet", "the model found nothing to change")
    if not new[request.start : len(new) - tail].strip():
        raise NoAnswer("quiet", "the answer would delete the selection")
    tree = parse(snapshot.language_id, old)
    if tree is not None:
        edit = Edit(tree, new, request.start, end, request.instruction, scope_of(request.instruction))
        if (reason := reason_not_to_offer(edit)) is not None:
            raise NoAnswer("quiet", reason.replace("it ", "the answer ", 1))
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
        raise NoAnswer("quiet", "the answer cannot be written with this file's line endings")
    if result in session.documents.earlier_texts(snapshot.uri):
        raise NoAnswer("quiet", "the answer would undo your last edit")
    return replacements


def on_newest(session: Session, snapshot: DocumentSnapshot, replacements: list[Replacement]) -> Rewritten:
    """Move the replacements over what was typed meanwhile, or give up."""
    newest = session.documents.get(snapshot.uri)
    if newest is None:
        raise NoAnswer("stale", "the document was closed")
    moved = rebase(replacements, snapshot.text, newest.text)
    if moved is None:
        raise NoAnswer("stale", "the document changed in the same place while the model worked")
    return Rewritten(newest, tuple(moved))
