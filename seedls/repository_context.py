"""Which snippets of other files go with a request, and how long a choice is kept.

A choice stays while the user works in one place: the snippets stand at the beginning of the prompt, so another choice
means that the model reads everything again. It does not know the protocol or the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seedls.engine import Snippet
from seedls.snippet_index import Query, SnippetIndex, imported_words, names_in

_SAME_PLACE_LINES = 30
_LINES_BEFORE, _LINES_AFTER = 25, 8
_RECENT_LINES = 12
_COMMENT_SIGNS = {"python": "#", "ruby": "#", "shellscript": "#", "lua": "--", "sql": "--"}
"""What begins a comment, where it is not `//`."""


@dataclass(frozen=True, slots=True)
class _Choice:
    line_idx: int
    imports: frozenset[str]
    budget: int
    snippets: tuple[Snippet, ...]


def with_snippets(prefix: str, snippets: Sequence[Snippet], language: str) -> str:
    """The text before the cursor with other files' text as comments in front of it.

    The models are trained to fill holes in one file: shown several files in their base's layout for repositories, they
    begin the file anew instead (docs/log.md).
    """
    sign = _COMMENT_SIGNS.get(language, "//")
    lines = []
    for snippet in snippets:
        lines.append(f"{sign} {snippet.path}")
        lines += [f"{sign} {line}".rstrip() for line in snippet.text.split("\n")]
    return "".join(f"{line}\n" for line in lines) + ("\n" if lines else "") + prefix


class RepositoryContext:
    """The current choice of every document."""

    def __init__(self) -> None:
        self._chosen: dict[str, _Choice] = {}

    def snippets(
        self, index: SnippetIndex, query: Query, line_idx: int, budget: int, recent: Sequence[Snippet] = ()
    ) -> tuple[Snippet, ...]:
        """The snippets for a request at `line_idx` of `query.path`, within `budget` characters."""
        if budget <= 0:
            return ()
        imports = imported_words(query.shown)
        kept = self._chosen.get(query.path)
        if (
            kept is not None
            and kept.budget == budget
            and kept.imports == imports
            and abs(kept.line_idx - line_idx) <= _SAME_PLACE_LINES
            and (kept.snippets or not names_in(query.line))
        ):
            return kept.snippets
        chosen = index.snippets(query, budget, recent)
        self._chosen[query.path] = _Choice(line_idx, imports, budget, chosen)
        return chosen

    def forget(self, path: str) -> None:
        """The document was closed."""
        self._chosen.pop(path, None)


def query_at(path: str, language: str, prefix: str, suffix: str) -> Query:
    """A query for the cursor between what the model sees before and after it."""
    before = prefix.split("\n")[-_LINES_BEFORE:]
    near = "\n".join([*before, *suffix.split("\n")[:_LINES_AFTER]])
    return Query(path, language, before[-1], near, prefix + suffix)


def recent_piece(path: str, lines: Sequence[str], first: int, last: int) -> Snippet | None:
    """The lines of another document around what the user changed there."""
    start = max(0, (first + last) // 2 - _RECENT_LINES // 2)
    text = "".join(lines[start : start + _RECENT_LINES]).replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    return Snippet(path, text) if text.strip() else None
