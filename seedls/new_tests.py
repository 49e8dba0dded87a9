"""Tests of a function or class, written into a new file beside the others.

Owns where the file goes, what the model is shown, and what of its answer is kept. Python only: other languages have no
one place and no one way to import. It does not know code actions or the wire's requests.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from seedls.context import completion_window
from seedls.documents import DocumentSnapshot
from seedls.engine import CompletionRequest, CompletionResult, SamplingParams, Snippet, StopRules
from seedls.instructions import Target, testable
from seedls.line_endings import NormalisedText
from seedls.open_request import NoAnswer, OpenRequest, open_request
from seedls.protocol import ActionData
from seedls.repository_context import with_snippets
from seedls.rewrite import REQUEST
from seedls.scheduler import JobKey, StopSignal
from seedls.session import Session
from seedls.syntax import parse

_MAX_TOKENS = 400
_MAX_LINES = 60


async def new_tests(session: Session, data: ActionData) -> types.WorkspaceEdit:
    """A new file with tests of what stands in the range; raises NoAnswer."""
    with open_request(session, REQUEST, JobKey(data.uri, "edit"), session.settings.edit_deadline_ms) as opened:
        opened.because(data.instruction)
        snapshot = _allowed(session, data)
        normal = NormalisedText(snapshot.text)
        start, end = normal.from_original(data.start), normal.from_original(data.end)
        name = testable(Target(start, end, ""), parse(snapshot.language_id, normal.text))
        if name is None:
            raise NoAnswer("quiet", "there is no top-level function or class to import")
        path = place_of_tests(_file_path(snapshot), session.roots)
        head = _head(name, module_of(session.relative_path(data.uri)))
        answer = await _written(session, _request(session, snapshot, head, normal.text[start:end], path.name), opened)
        text = whole_tests(head, answer)
        if text is None:
            raise NoAnswer("quiet", "the model wrote no test that checks something")
        return _creating(path.as_uri(), text)


def _allowed(session: Session, data: ActionData) -> DocumentSnapshot:
    """Check what needs no work; raises NoAnswer."""
    if session.engine.state != "ready":
        raise NoAnswer("quiet", f"the model is not ready: {session.engine.message}")
    if session.is_excluded(data.uri):
        raise NoAnswer("quiet", "the file is excluded")
    snapshot = session.documents.at_version(data.uri, data.version)
    if snapshot is None:
        raise NoAnswer("stale", "the document changed since the action was offered")
    return snapshot


def place_of_tests(path: Path, roots: list[str]) -> Path:
    """`tests/test_NAME.py` of the workspace folder if there is one, else beside the file; a name not in use."""
    folder = next((Path(root) / "tests" for root in roots if path.is_relative_to(root)), path.parent)
    folder = folder if folder.is_dir() else path.parent
    found, number = folder / f"test_{path.stem}.py", 2
    while found.exists():
        found, number = folder / f"test_{path.stem}_{number}.py", number + 1
    return found


def module_of(shown: str) -> str:
    """Name to import a file of the workspace by."""
    parts = shown.removesuffix(".py").split("/")
    parts = parts[1:] if parts[0] in ("src", "lib") and len(parts) > 1 else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _head(name: str, module: str) -> str:
    return f"import pytest\n\nfrom {module} import {name}\n\n\ndef test_{name.lower()}"


def _file_path(snapshot: DocumentSnapshot) -> Path:
    return Path(unquote(urlsplit(snapshot.uri).path))


def _request(session: Session, snapshot: DocumentSnapshot, head: str, code: str, file_name: str) -> CompletionRequest:
    settings = session.settings
    window = completion_window(head, len(head), settings.context_prefix_characters, 0)
    shown = Snippet(session.relative_path(snapshot.uri), code[: settings.context_prefix_characters])
    return CompletionRequest(
        prefix=with_snippets(window.prefix, [shown], "python"),
        path=file_name,
        language="python",
        stop=StopRules(max_lines=_MAX_LINES, stop_strings=("\nif __name__",)),
        params=SamplingParams(policy=settings.policy, max_tokens=_MAX_TOKENS),  # type: ignore[arg-type]
    )


async def _written(session: Session, request: CompletionRequest, opened: OpenRequest) -> str:
    engine = session.engine

    def work(stop: StopSignal) -> CompletionResult:
        params = replace(request.params, deadline_ms=stop.milliseconds_left())
        return engine.complete(replace(request, params=params), stop.is_set)

    finished = await session.scheduler.run(opened.signal, work)
    opened.ran(finished, finished.value.tokens, finished.value.forwards)
    return finished.value.text


def whole_tests(head: str, answer: str) -> str | None:
    """The tests up to the last one that is whole and checks something; None when there is none."""
    lines = (head + answer).rstrip().split("\n")
    for count in range(len(lines), head.count("\n") + 1, -1):
        text = "\n".join(lines[:count]).rstrip() + "\n"
        if count < len(lines) and lines[count][:1] in (" ", "\t"):
            continue  # in the middle of a test
        tree = parse("python", text)
        if tree is None or tree.count_errors():
            continue
        if "pytest." not in text:
            text = text.removeprefix("import pytest\n\n")
        last = text.rpartition("\ndef ")[2]
        if "assert " in last or "pytest.raises" in last:
            return text
    return None


def _creating(uri: str, text: str) -> types.WorkspaceEdit:
    place = types.Position(0, 0)
    edit = types.TextDocumentEdit(
        types.OptionalVersionedTextDocumentIdentifier(uri, None), [types.TextEdit(types.Range(place, place), text)]
    )
    options = types.CreateFileOptions(overwrite=False, ignore_if_exists=False)
    return types.WorkspaceEdit(document_changes=[types.CreateFile(uri, "create", options), edit])
