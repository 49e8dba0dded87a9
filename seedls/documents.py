"""Open documents as immutable snapshots, kept in step with the editor by our own incremental sync.

Owns text, version and language of every open document. It does not know features, settings or the model. pygls' own
workspace is not used: it splits lines with `str.splitlines`, which desynchronises on form feeds and U+2028.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from lsprotocol import types

from seedls.positions import Encoding, LineText, clamped, to_offset, to_offsets, to_position, to_range

ContentChange = types.TextDocumentContentChangePartial | types.TextDocumentContentChangeWholeDocument


@dataclass(frozen=True, slots=True)
class DocumentSnapshot:
    """One version of one document."""

    uri: str
    version: int
    content: LineText
    language_id: str = ""
    encoding: Encoding = "utf-16"

    @property
    def text(self) -> str:
        """The whole text."""
        return self.content.text

    @property
    def path(self) -> str:
        """Path part of the URI with forward slashes."""
        return unquote(urlsplit(self.uri).path)

    def offset_at(self, position: types.Position) -> int:
        """Character offset of a client position, clamped into the text."""
        return to_offset(self.content, position, self.encoding)

    def clamped(self, position: types.Position) -> types.Position:
        """A client position, put into the text where it lies outside."""
        return clamped(self.content, position, self.encoding)

    def offsets_at(self, span: types.Range) -> tuple[int, int]:
        """Character offsets of a client range."""
        return to_offsets(self.content, span, self.encoding)

    def position_at(self, offset: int) -> types.Position:
        """Client position of a character offset."""
        return to_position(self.content, offset, self.encoding)

    def range_at(self, start: int, end: int) -> types.Range:
        """Client range of two character offsets."""
        return to_range(self.content, start, end, self.encoding)

    def same_text_as(self, other: DocumentSnapshot) -> bool:
        """True when both hold the same text, whatever their versions."""
        return self.content is other.content or self.content.lines == other.content.lines


def apply_change(content: LineText, change: ContentChange, encoding: Encoding) -> LineText:
    """Apply one didChange event; positions past the end are clamped, a reversed range is put in order."""
    if isinstance(change, types.TextDocumentContentChangePartial):
        start = content.locate(change.range.start, encoding)
        end = content.locate(change.range.end, encoding)
        return content.splice(start, end, change.text)
    return LineText.from_text(change.text)


class DocumentStore:
    """The open documents. Only the event loop touches it; everybody else holds snapshots."""

    def __init__(self, history: int = 3) -> None:
        self.encoding: Encoding = "utf-16"
        self._current: dict[str, DocumentSnapshot] = {}
        self._earlier: dict[str, list[DocumentSnapshot]] = {}
        self._history = history

    def __len__(self) -> int:
        return len(self._current)

    def open(self, item: types.TextDocumentItem) -> DocumentSnapshot:
        """Start (or restart) tracking a document."""
        snapshot = DocumentSnapshot(
            item.uri, item.version, LineText.from_text(item.text), item.language_id, self.encoding
        )
        self._current[item.uri] = snapshot
        self._earlier[item.uri] = []
        return snapshot

    def change(self, uri: str, version: int, changes: Sequence[ContentChange]) -> DocumentSnapshot | None:
        """Apply one didChange; None when the document was never opened (the protocol forbids it, clients do it)."""
        before = self._current.get(uri)
        if before is None:
            return None
        content = before.content
        for change in changes:
            content = apply_change(content, change, self.encoding)
        snapshot = DocumentSnapshot(uri, version, content, before.language_id, self.encoding)
        self._current[uri] = snapshot
        self._earlier[uri] = [*self._earlier[uri], before][-self._history :]
        return snapshot

    def close(self, uri: str) -> None:
        """Forget a document; unknown URIs are ignored."""
        self._current.pop(uri, None)
        self._earlier.pop(uri, None)

    def get(self, uri: str) -> DocumentSnapshot | None:
        """The newest version, or None when the document is not open."""
        return self._current.get(uri)

    def at_version(self, uri: str, version: int) -> DocumentSnapshot | None:
        """The snapshot with this version if it is the newest or one of the few kept ones."""
        current = self._current.get(uri)
        if current is None or current.version == version:
            return current
        return next((kept for kept in reversed(self._earlier[uri]) if kept.version == version), None)

    def earlier_texts(self, uri: str) -> list[str]:
        """Texts of the kept earlier versions, newest first."""
        return [kept.text for kept in reversed(self._earlier.get(uri, []))]
