"""What the other files of a workspace say: definitions by name, and pieces of text by the identifiers in them.

Owns the index and the ranking within a budget of characters. Pure apart from its own memory: texts in, snippets out. It
does not know the disk, documents or the model. One thread adds files while another asks; a lock keeps them apart.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from seedls.engine import Snippet
from seedls.syntax import parse

MAX_TOTAL_CHARACTERS = 24_000_000
_PIECE_LINES = 20
_MAX_DEFINITION_CHARACTERS = 700
_MAX_DEFINITION_LINES = 14
_MAX_HOLDERS = 200
"""An identifier in more pieces than this says little about where it comes from, and costs time."""
_NAME = re.compile(r"[A-Za-z_]\w{2,}")
_DEFINITION_LINE = re.compile(
    r"^[ \t]*(?:export |default |pub(?:\([a-z]+\))? |public |private |protected |static |async |abstract |final )*"
    r"(?:def|class|function|func|fn|struct|enum|trait|interface|type|module)\s+(?:\([^)]*\)\s*)?([A-Za-z_]\w*)",
    re.MULTILINE,
)
_KEYWORDS = frozenset(
    _NAME.findall(
        "and as assert async await break case catch class const continue def default del elif else enum "
        "except export extends false final finally fn for from func function global if impl import in "
        "interface is lambda let match mod module mut new nil none not null or package pass private protected "
        "pub public raise return self static struct super switch this throw trait true try type typeof use "
        "var void while with yield True False None "
    )
)
_RELATED = {"typescript": "javascript", "typescriptreact": "javascript", "javascriptreact": "javascript", "cpp": "c"}


@dataclass(frozen=True, slots=True)
class Definition:
    """A named function, class or type, as it would be shown."""

    name: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some lines of a file and the identifiers in them."""

    path: str
    text: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """What one file adds to the index."""

    path: str
    family: str
    definitions: tuple[Definition, ...]
    pieces: tuple[Piece, ...]
    characters: int


@dataclass(frozen=True, slots=True)
class Query:
    """Where context is wanted. Texts use `\\n`."""

    path: str
    language: str
    line: str
    """The cursor's line, left of the cursor."""
    near: str
    """Text around the cursor, some thirty lines."""
    shown: str
    """What the model sees of the file anyway."""


def index_file(path: str, language: str, text: str) -> IndexedFile:
    """Read one file's text; without a grammar, definitions are found line by line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    blocks = ["\n".join(lines[first : first + _PIECE_LINES]) for first in range(0, len(lines), _PIECE_LINES)]
    pieces = tuple(Piece(path, block, names_in(block)) for block in blocks if block.strip())
    return IndexedFile(path, family_of(language), tuple(_definitions(path, language, text)), pieces, len(text))


def family_of(language: str) -> str:
    """Languages that can use each other's names count as one."""
    return _RELATED.get(language, language)


def names_in(text: str) -> frozenset[str]:
    """Identifiers of three letters or more, without keywords."""
    return frozenset(_NAME.findall(text)) - _KEYWORDS


def _definitions(path: str, language: str, text: str) -> Iterable[Definition]:
    tree = parse(language, text)
    if tree is None:
        for found in _DEFINITION_LINE.finditer(text):
            yield Definition(found.group(1), path, _head(text[found.start() :]))
        return
    for node in tree.outline():
        if node.name:
            start = text.rfind("\n", 0, node.start) + 1
            yield Definition(node.name, path, _head(text[start : node.end]))


def _head(text: str) -> str:
    """The first lines of a definition: signature, docstring, fields."""
    kept: list[str] = []
    size = 0
    for line in text.split("\n")[:_MAX_DEFINITION_LINES]:
        size += len(line) + 1
        if kept and size > _MAX_DEFINITION_CHARACTERS:
            break
        kept.append(line)
    return "\n".join(kept).rstrip()[:_MAX_DEFINITION_CHARACTERS]


class SnippetIndex:
    """All indexed files of the workspace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, IndexedFile] = {}
        self._definitions: dict[str, list[Definition]] = defaultdict(list)
        self._pieces_with: dict[str, set[Piece]] = defaultdict(set)
        self._num_pieces = 0
        self._characters = 0

    def __len__(self) -> int:
        return len(self._files)

    def put(self, file: IndexedFile) -> bool:
        """Add or replace a file; False when the index is full."""
        with self._lock:
            self._remove(file.path)
            if self._characters + file.characters > MAX_TOTAL_CHARACTERS:
                return False
            self._files[file.path] = file
            self._characters += file.characters
            self._num_pieces += len(file.pieces)
            for definition in file.definitions:
                self._definitions[definition.name].append(definition)
            for piece in file.pieces:
                for name in piece.names:
                    self._pieces_with[name].add(piece)
            return True

    def remove(self, path: str) -> None:
        """Forget a file; unknown ones are ignored."""
        with self._lock:
            self._remove(path)

    def _remove(self, path: str) -> None:
        file = self._files.pop(path, None)
        if file is None:
            return
        self._characters -= file.characters
        self._num_pieces -= len(file.pieces)
        for definition in file.definitions:
            self._definitions[definition.name].remove(definition)
        for piece in file.pieces:
            for name in piece.names:
                self._pieces_with[name].discard(piece)

    def paths(self) -> set[str]:
        """Indexed files."""
        with self._lock:
            return set(self._files)

    def snippets(self, query: Query, budget: int, recent: Sequence[Snippet] = ()) -> tuple[Snippet, ...]:
        """The most useful snippets within `budget` characters, the best one last, next to the file itself.

        `recent` are pieces of other files that the user worked on a moment ago; they count as much as similar text.
        """
        with self._lock:
            ranked = [*self._ranked_definitions(query), *self._ranked_pieces(query)]
        ranked += [(1.0, snippet) for snippet in recent if snippet.path != query.path]
        ranked.sort(key=lambda scored: (-scored[0], scored[1].path, scored[1].text))
        return _within(budget, (snippet for _, snippet in ranked), query.shown)

    def _ranked_definitions(self, query: Query) -> list[tuple[float, Snippet]]:
        """Definitions of names in reach: imported ones first, else names that are defined in few places."""
        in_line, near = names_in(query.line), names_in(query.near)
        imports = imported_words(query.shown)
        scored = []
        for name in near | in_line:
            found = [one for one in self._definitions.get(name, ()) if self._is_usable(one.path, query)]
            if not found or f"def {name}" in query.shown or f"class {name}" in query.shown:
                continue
            for one in found:
                module = one.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
                is_imported = name in imports or module in imports
                if not is_imported and len(found) > 3:
                    continue
                score = (3.0 if name in in_line else 1.5) * (2.0 if is_imported else 0.8) / len(found)
                scored.append((score, Snippet(one.path, one.text)))
        return scored

    def _ranked_pieces(self, query: Query) -> list[tuple[float, Snippet]]:
        """Text that shares rare identifiers with the lines around the cursor."""
        wanted = names_in(query.near)
        scores: Counter[Piece] = Counter()
        total = 0.0
        for name in wanted:
            holders = self._pieces_with.get(name, ())
            weight = math.log(1 + (1 + self._num_pieces) / (1 + len(holders)))
            total += weight
            if len(holders) <= _MAX_HOLDERS:
                for piece in holders:
                    scores[piece] += weight  # type: ignore[assignment]  # a Counter of floats
        best = [
            (score / total, Snippet(piece.path, piece.text))
            for piece, score in scores.most_common(12)
            if self._is_usable(piece.path, query)
        ]
        return [(share, snippet) for share, snippet in best if share >= 0.2][:4]

    def _is_usable(self, path: str, query: Query) -> bool:
        return path != query.path and self._files[path].family == family_of(query.language)


def imported_words(text: str) -> frozenset[str]:
    """Words of import lines."""
    lines = re.findall(r"^\s*(?:from|import|use|#include|require|const .*require).*$", text, re.MULTILINE)
    return frozenset(word for line in lines for word in re.findall(r"\w+", line))


def _within(budget: int, ranked: Iterable[Snippet], shown: str) -> tuple[Snippet, ...]:
    chosen: list[Snippet] = []
    for snippet in ranked:
        size = len(snippet.text) + len(snippet.path) + 2
        is_known = snippet.text in shown or any(
            snippet.path == one.path and (snippet.text in one.text or one.text in snippet.text) for one in chosen
        )
        if size <= budget and not is_known:
            chosen.append(snippet)
            budget -= size
    return tuple(reversed(chosen))
