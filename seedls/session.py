"""The mutable state of one client connection: settings, abilities, documents, model, trees, what was shown.

Owns it all, one owner for each thing; only the event loop touches it. It does not know the wire or pygls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from seedls.documents import ContentChange, DocumentSnapshot, DocumentStore
from seedls.edit_history import EditHistory, LineChange
from seedls.engine import Engine, EngineFactory, Snippet, home_folder
from seedls.kept_rate import Accepted, KeptRateFile, accepted, measure
from seedls.metrics import Metrics
from seedls.repository_context import RepositoryContext, query_at, recent_piece
from seedls.running_edits import RunningEdits
from seedls.scheduler import Scheduler
from seedls.settings import Settings, resolve_settings
from seedls.settings_files import read_settings_files
from seedls.syntax import SyntaxTree
from seedls.syntax_cache import TreeCache
from seedls.text_edits import EditAbilities, common_prefix_length
from seedls.workspace import Workspace

_log = logging.getLogger("seedls")
_MEETING_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class ClientAbilities:
    """What this client understands, read once from its capabilities."""

    inline_completion: bool = False
    edit: EditAbilities = field(default_factory=EditAbilities)
    creates_files: bool = False
    resolves_edit: bool = False
    shows_disabled: bool = False
    work_done_progress: bool = False
    pulls_configuration: bool = False
    registers_configuration: bool = False

    @classmethod
    def of(cls, capabilities: types.ClientCapabilities) -> ClientAbilities:
        """Read the client's capabilities; what is not announced is not there."""
        document = capabilities.text_document or types.TextDocumentClientCapabilities()
        workspace = capabilities.workspace or types.WorkspaceClientCapabilities()
        action = document.code_action or types.CodeActionClientCapabilities()
        edit = workspace.workspace_edit or types.WorkspaceEditClientCapabilities()
        resolvable = action.resolve_support.properties if action.resolve_support else []
        configuration = workspace.did_change_configuration
        return cls(
            inline_completion=document.inline_completion is not None,
            edit=EditAbilities(
                # Neovim announces what only document changes can hold, but not these.
                document_changes=bool(
                    edit.document_changes or edit.change_annotation_support or edit.resource_operations
                ),
                change_annotations=edit.change_annotation_support is not None,
            ),
            creates_files=types.ResourceOperationKind.Create in (edit.resource_operations or []),
            resolves_edit="edit" in resolvable,
            shows_disabled=bool(action.disabled_support),
            work_done_progress=bool(capabilities.window and capabilities.window.work_done_progress),
            pulls_configuration=bool(workspace.configuration),
            registers_configuration=bool(configuration and configuration.dynamic_registration),
        )


@dataclass(frozen=True, slots=True)
class ShownCompletion:
    """The last completion of a document, so that typing into it needs no model. Texts use `\\n`."""

    before: str
    after: str
    text: str
    id: str

    def rest_after_typing(self, before: str, after: str) -> str | None:
        """What is still to insert if the user typed the beginning of it, else None."""
        if after != self.after or not before.startswith(self.before):
            return None
        typed = before[len(self.before) :]
        return self.text[len(typed) :] if self.text.startswith(typed) and len(typed) < len(self.text) else None

    def draft_for(self, before: str, after: str) -> str:
        """What of it may still hold after the user typed something else, or deleted some; "" when the place is another.

        Only a guess, which the model verifies.
        """
        if after != self.after:
            return ""
        if self.before.startswith(before):
            return self.before[len(before) :] + self.text
        if not before.startswith(self.before):
            return ""
        typed = before[len(self.before) :]
        same = common_prefix_length(typed, self.text)
        rest, own = self.text[same:], typed[same:]
        if not own:
            return rest
        # Where the two meet again: behind the last thing typed, if the rest has it; else behind the word typed over.
        for length in range(min(len(own), _MEETING_CHARACTERS), 0, -1):
            place = rest.find(own[-length:])
            if place >= 0 and (length > 1 or not own[-1].isalnum()):
                return rest[place + length :]
        return rest[_first_word_end(rest) :]


def _first_word_end(text: str) -> int:
    return next((idx for idx, character in enumerate(text) if not (character.isalnum() or character == "_")), len(text))


class Session:
    """State of one connection."""

    def __init__(self, engine_factory: EngineFactory) -> None:
        self.settings = Settings()
        self.abilities = ClientAbilities()
        self.documents = DocumentStore()
        self.scheduler = Scheduler()
        self.metrics = Metrics()
        self.engine_factory = engine_factory
        self.engine: Engine = engine_factory(self.settings)
        self.retired: list[Engine] = []
        """Engines to close before the next one is loaded: they hold the memory that it needs."""
        self.roots: list[str] = []
        """Paths of the workspace folders, forward slashes, no trailing one."""
        self.shown: dict[str, ShownCompletion] = {}
        self.edit_runs = RunningEdits()
        self.waiting: asyncio.Future[None] | None = None
        """Waits for a model that could not be loaded."""
        self.ahead: dict[str, ShownCompletion] = {}
        """What would follow the shown completion of a document."""
        self.ahead_task: asyncio.Future[None] | None = None
        self.on_broken: Callable[[Engine], Awaitable[None]] = _leave_broken
        """What background work does about an engine that failed under it: nobody who asked will hear of it."""
        self.reading_task: asyncio.Future[None] | None = None
        """Reads around a caret that rests."""
        self.num_recoveries = 0
        """Times the model was loaded again because it broke, since the user last asked for it."""
        self._layers: dict[str, Mapping[str, Any]] = {}
        self._trees: dict[str, TreeCache] = {}
        self.history: dict[str, EditHistory] = {}
        self.workspace: Workspace | None = None
        """Set when the client said that it is ready, if there are folders."""
        self.accepted: list[Accepted] = []
        """Completions that were taken and not looked at again yet."""
        self._repository = RepositoryContext()

    def set_options(self, layer: str, options: Any) -> list[str]:
        """Replace one layer of options (`initialize`, `configuration`, `workspace`); returns the complaints."""
        self._layers[layer] = options if isinstance(options, Mapping) else {}
        layers = [self._layers[name] for name in ("initialize", "configuration", "workspace") if name in self._layers]
        self.settings, complaints = resolve_settings(*layers)
        if "workspace" in self._layers:
            own, _ = resolve_settings(*(layers[:-1]))
            added = tuple(glob for glob in own.exclude if glob not in self.settings.exclude)
            self.settings = replace(self.settings, exclude=self.settings.exclude + added)
        return complaints

    def read_settings_files(self) -> list[str]:
        """Take what `seedls.toml` or `pyproject.toml` of the workspace say now; returns the complaints."""
        options, complaints = read_settings_files(self.roots)
        return complaints + self.set_options("workspace", options)

    def change(self, uri: str, version: int, changes: Sequence[ContentChange]) -> DocumentSnapshot | None:
        """Apply one didChange and remember what was changed; None when the document is not open."""
        before = self.documents.get(uri)
        snapshot = self.documents.change(uri, version, changes)
        if before is not None:
            lines = [_changed_lines(before, change) for change in changes]
            self.history.setdefault(uri, EditHistory()).note(before.content, lines)
        return snapshot

    def context_for(self, uri: str, language_id: str, prefix: str, suffix: str, line_idx: int) -> tuple[Snippet, ...]:
        """Snippets of other files for a request there; () when they are switched off or not read yet."""
        budget = self.settings.context_repository_characters
        if self.workspace is None or budget <= 0:
            return ()
        query = query_at(self.relative_path(uri), language_id, prefix, suffix)
        return self._repository.snippets(self.workspace.index, query, line_idx, budget, self._recent_pieces(uri))

    def _recent_pieces(self, uri: str) -> list[Snippet]:
        """Where the user worked last in the other open documents."""
        pieces = []
        for other, history in self.history.items():
            snapshot, burst = self.documents.get(other), history.current
            if other == uri or snapshot is None or burst is None or self.is_excluded(other):
                continue
            piece = recent_piece(self.relative_path(other), snapshot.content.lines, burst.first, burst.last)
            pieces += [(history.changed_at, piece)] if piece is not None else []
        return [piece for _, piece in sorted(pieces, key=lambda timed: -timed[0])[:2]]

    def tree_for(
        self, snapshot: DocumentSnapshot, text: str, start: int = 0, end: int | None = None
    ) -> SyntaxTree | None:
        """A parse of a document's normalised text that holds [start, end) and what is around it; all of it by default.

        Of a long document it is only a part: parsing it all would cost milliseconds a keystroke.
        """
        cache = self._trees.get(snapshot.uri)
        if cache is None or cache.language_id != snapshot.language_id:
            cache = self._trees[snapshot.uri] = TreeCache(snapshot.language_id)
        return cache.tree(text, start, len(text) if end is None else end)

    def watch_workspace(self, on_settings_file: Callable[[], None]) -> None:
        """Watch the folders' settings files, and read the other files where their text is wanted; anew if called again.

        `on_settings_file` is called on another thread.
        """
        if self.workspace is not None:
            self.workspace.stop()
        self._repository = RepositoryContext()
        self.workspace = Workspace(self.is_excluded_path, on_settings_file)
        self.workspace.start(self.roots, is_indexing=self.settings.context_repository_characters > 0)

    def take_accepted(self, completion_id: str) -> Accepted | None:
        """Remember that the user took a completion; None when it is unknown or kept rates are switched off."""
        if not self.settings.kept_rate_enabled:
            return None
        for uri, shown in self.shown.items():
            snapshot = self.documents.get(uri)
            if shown.id == completion_id and snapshot is not None:
                taken = accepted(uri, snapshot.language_id, shown.before, shown.text)
                self.accepted.append(taken)
                return taken
        return None

    def note_kept(self, taken: Accepted) -> None:
        """See what is left of it; counts and writes the figure, once."""
        if taken not in self.accepted:
            return
        self.accepted.remove(taken)
        snapshot = self.documents.get(taken.uri)
        if snapshot is None or not self.settings.kept_rate_enabled:
            return
        figure = measure(taken, list(snapshot.content.lines))
        self.metrics.count("accepted.characters", figure.characters)
        self.metrics.count("kept.characters", round(figure.kept * figure.characters))
        KeptRateFile(home_folder()).append(figure)

    def close(self) -> None:
        """Stop all work; nothing is waited for."""
        for task in (self.waiting, self.ahead_task, self.reading_task):
            if task is not None and not task.done():
                task.cancel()
        for taken in list(self.accepted):
            self.note_kept(taken)
        self.scheduler.close()
        if self.workspace is not None:
            self.workspace.stop()

    def forget(self, uri: str) -> None:
        """Drop everything about a closed document."""
        for taken in [one for one in self.accepted if one.uri == uri]:
            self.note_kept(taken)
        self.scheduler.stop_document(uri)
        self.documents.close(uri)
        self._trees.pop(uri, None)
        self.shown.pop(uri, None)
        self.ahead.pop(uri, None)
        self.history.pop(uri, None)
        self._repository.forget(self.relative_path(uri))

    def relative_path(self, uri: str) -> str:
        """Path inside the workspace as the model may see it; the bare file name outside of it."""
        path = unquote(urlsplit(uri).path)
        for root in self.roots:
            if path.startswith(root + "/"):
                return path[len(root) + 1 :]
        return path.rsplit("/", 1)[-1]

    def is_excluded(self, uri: str) -> bool:
        """True for files the model must never see."""
        return self.is_excluded_path(unquote(urlsplit(uri).path))

    def is_excluded_path(self, path: str) -> bool:
        """The same for an absolute path with forward slashes; called on the workspace's thread too."""
        return any(fnmatch(path, pattern) for pattern in self.settings.exclude)


async def _leave_broken(engine: Engine) -> None:
    """Without a client there is nobody to load the model for."""


def _changed_lines(before: DocumentSnapshot, change: ContentChange) -> LineChange:
    if isinstance(change, types.TextDocumentContentChangePartial):
        first = min(change.range.start.line, change.range.end.line)
        last = max(change.range.start.line, change.range.end.line)
        return LineChange(first, last, first + change.text.count("\n"))
    return LineChange(0, len(before.content.lines) - 1, change.text.count("\n"))
