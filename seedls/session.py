"""The mutable state of one client connection: settings, abilities, documents, model, trees, what was shown.

Owns it all, one owner for each thing; only the event loop touches it. It does not know the wire or pygls.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from seedls.documents import DocumentSnapshot, DocumentStore
from seedls.engine import Engine, EngineFactory
from seedls.metrics import Metrics
from seedls.scheduler import Scheduler
from seedls.settings import Settings, resolve_settings
from seedls.syntax import SyntaxTree
from seedls.syntax_cache import TreeCache
from seedls.text_edits import EditAbilities

_log = logging.getLogger("seedls")


@dataclass(frozen=True, slots=True)
class ClientAbilities:
    """What this client understands, read once from its capabilities."""

    inline_completion: bool = False
    edit: EditAbilities = field(default_factory=EditAbilities)
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
                document_changes=bool(edit.document_changes),
                change_annotations=edit.change_annotation_support is not None,
            ),
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
        self.roots: list[str] = []
        """Paths of the workspace folders, forward slashes, no trailing one."""
        self.shown: dict[str, ShownCompletion] = {}
        self.num_recoveries = 0
        """Times the model was loaded again because it broke, since the user last asked for it."""
        self._layers: dict[str, Mapping[str, Any]] = {}
        self._trees: dict[str, TreeCache] = {}

    def set_options(self, layer: str, options: Any) -> list[str]:
        """Replace one layer of options (`initialize`, `configuration`); returns the complaints."""
        self._layers[layer] = options if isinstance(options, Mapping) else {}
        order = ("initialize", "configuration")
        self.settings, complaints = resolve_settings(*(self._layers[name] for name in order if name in self._layers))
        return complaints

    def tree_for(self, snapshot: DocumentSnapshot, text: str, start: int, end: int) -> SyntaxTree | None:
        """A parse of a document's normalised text that holds [start, end) and what is around it.

        Of a long document it is only a part: parsing it all would cost milliseconds a keystroke.
        """
        cache = self._trees.get(snapshot.uri)
        if cache is None or cache.language_id != snapshot.language_id:
            cache = self._trees[snapshot.uri] = TreeCache(snapshot.language_id)
        return cache.tree(text, start, end)

    def forget(self, uri: str) -> None:
        """Drop everything about a closed document."""
        self.scheduler.stop_document(uri)
        self.documents.close(uri)
        self._trees.pop(uri, None)
        self.shown.pop(uri, None)

    def relative_path(self, uri: str) -> str:
        """Path inside the workspace as the model may see it; the bare file name outside of it."""
        path = unquote(urlsplit(uri).path)
        for root in self.roots:
            if path.startswith(root + "/"):
                return path[len(root) + 1 :]
        return path.rsplit("/", 1)[-1]

    def is_excluded(self, uri: str) -> bool:
        """True for files the model must never see."""
        path = unquote(urlsplit(uri).path)
        return any(fnmatch(path, pattern) for pattern in self.settings.exclude)
