"""What the model sees around a cursor, within a budget of characters. Pure: text in, text out.

Owns the choice of lines. It does not know documents, positions, tokens or the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from seedls.syntax import SyntaxTree

_IMPORT_STARTS = ("import ", "from ", "#include", "use ", "const ", "package ", "using ")
_IMPORTS_WITHIN = 20_000
"""Characters at the beginning of a file that are searched for imports."""
_MAX_HEAD_SHARE = 0.3
"""Part of the prefix budget that imports and enclosing signatures may take when they are out of the window."""


@dataclass(frozen=True, slots=True)
class Window:
    """Text left and right of the cursor, as the model will see it."""

    prefix: str
    suffix: str


def completion_window(
    text: str, offset: int, prefix_budget: int, suffix_budget: int, tree: SyntaxTree | None = None
) -> Window:
    """Whole lines around `offset`: the nearest ones, led by imports and enclosing signatures that lie further away.

    The prefix always ends at `offset` and the suffix starts there; a line longer than the budget is cut at its far end.
    """
    suffix = _whole_lines_after(text, offset, suffix_budget)
    if offset <= prefix_budget:
        return Window(text[:offset], suffix)
    head_budget = int(prefix_budget * _MAX_HEAD_SHARE)
    start = _line_start_after(text, offset - (prefix_budget - head_budget), offset)
    head = _far_head(text, start, offset, head_budget, tree)
    return Window(head + text[start:offset], suffix)


def _line_start_after(text: str, wanted: int, offset: int) -> int:
    """First line start at or after `wanted`, or `wanted` itself when the line holds the cursor."""
    if wanted <= 0 or text[wanted - 1] == "\n":
        return max(0, wanted)
    newline = text.find("\n", wanted, offset)
    return wanted if newline < 0 else newline + 1


def _whole_lines_after(text: str, offset: int, budget: int) -> str:
    end = offset + budget
    if end >= len(text):
        return text[offset:]
    last = text.rfind("\n", offset, end)
    return text[offset:end] if last < 0 else text[offset : last + 1]


def _far_head(text: str, start: int, offset: int, budget: int, tree: SyntaxTree | None) -> str:
    """Imports at the top and first lines of enclosing scopes that begin before `start`, in text order."""
    signatures = [_line_at(text, begin) for begin in _open_scopes(text, offset, tree) if begin < start]
    chosen: list[str] = []
    used = sum(map(len, signatures))
    for line in _import_lines(text[: min(start, _IMPORTS_WITHIN)]):
        if used + len(line) <= budget:
            chosen.append(line)
            used += len(line)
    head = "".join(chosen + signatures)
    return head if len(head) <= budget else ""


@lru_cache(maxsize=4)
def _import_lines(head: str) -> tuple[str, ...]:
    """Whole import lines of a file's beginning, which rarely changes while typing below it."""
    lines = head.splitlines(keepends=True)
    return tuple(line for line in lines if line.startswith(_IMPORT_STARTS) and line.endswith("\n"))


def _open_scopes(text: str, offset: int, tree: SyntaxTree | None) -> list[int]:
    """Starts of the scopes the cursor's line belongs to by its indentation: on a fresh line the parser has put the
    cursor behind the block it continues."""
    if tree is None:
        return []
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    indent = len(line) - len(line.lstrip())
    begins = [scope.start for scope in tree.scopes_at(max(0, len(text[:offset].rstrip()) - 1))]
    return [begin for begin in begins if begin - (text.rfind("\n", 0, begin) + 1) < indent]


def _line_at(text: str, offset: int) -> str:
    first = text.rfind("\n", 0, offset) + 1
    last = text.find("\n", offset)
    return text[first : len(text) if last < 0 else last + 1]


def is_multi_line_wanted(text: str, offset: int) -> bool:
    """True where more than one line may be inserted: nothing but blanks right of the cursor, and a line that is empty
    so far or opens something."""
    line_end = text.find("\n", offset)
    right = text[offset : len(text) if line_end < 0 else line_end]
    if right.strip():
        return False
    left = text[text.rfind("\n", 0, offset) + 1 : offset].rstrip()
    return not left or left.endswith((":", "(", "[", "{", ",", "=", "\\", "->", "=>"))
