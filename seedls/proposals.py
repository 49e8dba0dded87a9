"""From the user's last edits in a document to the follow-up edits worth proposing, or the reason why there are none.

Owns the gates, the model's part and the checks. It does not know which request asked nor its wire types.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from lsprotocol import types

from seedls.context import completion_window
from seedls.documents import DocumentSnapshot
from seedls.engine import Cancelled, CompletionRequest, CompletionResult, SamplingParams, StopRules
from seedls.line_endings import NormalisedText
from seedls.next_edit import Site, follow_ups
from seedls.open_request import NoAnswer, open_request
from seedls.scheduler import JobKey, StopSignal
from seedls.session import Session
from seedls.syntax import SyntaxTree, adds_errors
from seedls.text_edits import Replacement, apply_replacements, single_replacement

_REQUEST = "nextEdit"
_MAX_CHARACTERS = 400_000
"""Of longer documents nothing is looked for: it would hold up other requests."""
_MAX_HOLES = 3
"""Places that the model fills for one request."""
_MAX_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Proposal:
    """Put `new_text` where `span` is."""

    span: types.Range
    new_text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Proposals:
    """Edits of `snapshot`, the nearest behind the cursor first."""

    snapshot: DocumentSnapshot
    edits: tuple[Proposal, ...]
    id: str


async def propose(session: Session, uri: str, position: types.Position, version: int | None) -> Proposals | None:
    """Follow-ups of the last edit in a document, or None; either way the session's metrics know why."""
    deadline_ms = session.settings.completion_deadline_ms
    try:
        with open_request(session, _REQUEST, JobKey(uri, _REQUEST), deadline_ms) as request:
            found = await _found(session, uri, position, version, request.signal)
            request.because(f"{len(found.edits)} x {found.edits[0].kind}")
            return found
    except NoAnswer:
        return None


async def _found(
    session: Session, uri: str, position: types.Position, version: int | None, signal: StopSignal
) -> Proposals:
    snapshot = _allowed(session, uri, version)
    normal = NormalisedText(snapshot.text)
    tree = session.tree_for(snapshot, normal.text, 0, len(normal.text))
    if tree is None:
        raise NoAnswer("quiet", f"no grammar for {snapshot.language_id!r} is installed")
    sites = follow_ups(normal.text, _edits(session, snapshot), tree)
    if not sites:
        raise NoAnswer("quiet", "the last edit implies no other")
    cursor = normal.from_original(snapshot.offset_at(position))
    sites.sort(key=lambda site: (site.start < cursor, abs(site.start - cursor)))
    filled = await _filled(session, snapshot, normal.text, sites, signal)
    chosen = _harmless(session, snapshot, normal, tree, filled)
    current = session.documents.get(uri)
    if current is None or not current.same_text_as(snapshot):
        raise NoAnswer("stale", "the document changed meanwhile")
    edits_on_wire = tuple(
        Proposal(
            snapshot.range_at(normal.to_original(site.start), normal.to_original(site.end)),
            normal.restored(site.new_text),
            site.kind,
        )
        for site in chosen
    )
    return Proposals(snapshot, edits_on_wire, uuid.uuid4().hex)


def _allowed(session: Session, uri: str, version: int | None) -> DocumentSnapshot:
    """Check every gate that needs no work; raises NoAnswer."""
    settings = session.settings
    snapshot = session.documents.get(uri)
    if snapshot is None:
        raise NoAnswer("quiet", "the document is not open")
    if not settings.next_edit_enabled:
        raise NoAnswer("quiet", "nextEdit.enabled is false")
    if snapshot.language_id in settings.completion_disabled_languages:
        raise NoAnswer("quiet", f"completions are off for language {snapshot.language_id!r}")
    if session.is_excluded(uri):
        raise NoAnswer("quiet", "the file is excluded")
    if version is not None and version != snapshot.version:
        raise NoAnswer("stale", "the request was about another version")
    if uri not in session.history:
        raise NoAnswer("quiet", "nothing was edited yet")
    if len(snapshot.text) > _MAX_CHARACTERS:
        raise NoAnswer("quiet", f"the document has more than {_MAX_CHARACTERS} characters")
    return snapshot


def _edits(session: Session, snapshot: DocumentSnapshot) -> list[tuple[str, Replacement]]:
    """The last edits in `\n`-only texts, newest first."""
    found = []
    for before, after in session.history[snapshot.uri].edits(snapshot.content)[:2]:
        old = NormalisedText(before.text).text
        change = single_replacement(old, NormalisedText(after.text).text)
        if change is not None:
            found.append((old, change))
    return found


async def _filled(
    session: Session, snapshot: DocumentSnapshot, text: str, sites: list[Site], signal: StopSignal
) -> list[Site]:
    """The sites with complete texts: the model writes into the holes of the nearest few."""
    complete = [site for site in sites if site.hole is None]
    holes = [site for site in sites if site.hole is not None][:_MAX_HOLES]
    if not holes:
        return complete
    engine = session.engine
    if engine.state != "ready":
        raise NoAnswer("quiet", f"the model is not ready: {engine.message}")
    requests = [_request(session, snapshot, text, site) for site in holes]

    def work(stop: StopSignal) -> list[CompletionResult]:
        results: list[CompletionResult] = []
        for request in requests:
            if results and stop():
                break
            params = replace(request.params, deadline_ms=stop.milliseconds_left())
            results.append(engine.complete(replace(request, params=params), stop.is_set))
        return results

    try:
        finished = await session.scheduler.run(signal, work)
    except Cancelled:
        raise NoAnswer("cancelled", "stopped before there was anything to show") from None
    minimum = session.settings.completion_min_confidence
    for site, result in zip(holes, finished.value, strict=False):
        written = result.text.strip()
        if written and "\n" not in written and result.confidence >= minimum:
            assert site.hole is not None
            new_text = site.new_text[: site.hole] + written + site.new_text[site.hole :]
            complete.append(replace(site, new_text=new_text, hole=None))
    return complete


def _request(session: Session, snapshot: DocumentSnapshot, text: str, site: Site) -> CompletionRequest:
    """The hole of a site, in the text as it would be."""
    assert site.hole is not None
    settings = session.settings
    offset = site.start + site.hole
    new_text = text[: site.start] + site.new_text + text[site.end :]
    window = completion_window(new_text, offset, settings.context_prefix_characters, settings.context_suffix_characters)
    return CompletionRequest(
        prefix=window.prefix,
        suffix=window.suffix,
        path=session.relative_path(snapshot.uri),
        language=snapshot.language_id or None,
        stop=StopRules(max_lines=1),
        params=SamplingParams(policy=settings.policy, max_tokens=_MAX_TOKENS),  # type: ignore[arg-type]
    )


def _harmless(
    session: Session, snapshot: DocumentSnapshot, normal: NormalisedText, tree: SyntaxTree, sites: list[Site]
) -> list[Site]:
    """Sites that add no syntax error, all together not the text of a moment ago; raises NoAnswer."""
    chosen = []
    for site in sites:
        new_text = normal.text[: site.start] + site.new_text + normal.text[site.end :]
        if site.kind == "rename" or not adds_errors(tree, new_text):  # a name for a name cannot break the syntax
            chosen.append(site)
    if not chosen:
        raise NoAnswer("quiet", "no follow-up was sure enough")
    whole = apply_replacements(
        normal.text,
        [Replacement(one.start, one.end, one.new_text) for one in sorted(chosen, key=lambda one: one.start)],
    )
    if whole in [NormalisedText(text).text for text in session.documents.earlier_texts(snapshot.uri)]:
        raise NoAnswer("quiet", "it would undo your last edit")
    return chosen
