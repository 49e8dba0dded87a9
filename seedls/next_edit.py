"""Follow-up edits that the user's last edit implies elsewhere in the buffer. Pure: texts and a parse in, sites out.

Owns the recognition of three things: a rename half done, an argument added to a function, the same replacement made
twice. Each is only recognised where the rest of the buffer leaves little doubt: a wrong proposal costs more than none.
It does not know documents, the protocol or the model; where the new text needs thought, the site has a hole for the
model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seedls.syntax import SyntaxTree
from seedls.text_edits import Replacement

MAX_SITES = 50
_WORD = re.compile(r"[^\W\d]\w*")
_MIN_PATTERN = 3
_BINDS = r"(?:\b(?:def|class|function|fn|func|struct|enum|trait|interface|type|let|var|const|for|as|import)\s+{0}\b|"
_BINDS += r"(?<![\w.=!<>]){0}\s*(?::[^=\n]+)?=(?!=))"


@dataclass(frozen=True, slots=True)
class Site:
    """One place that should change: `new_text` for [start, end) of the current text."""

    start: int
    end: int
    new_text: str
    kind: str
    """`rename`, `argument` or `repeat`."""
    hole: int | None = None
    """Offset in `new_text` where the model has to write something; None: it is complete."""


@dataclass(frozen=True, slots=True)
class Made:
    """An edit the user made: `old` became `new`, both widened to whole words, at `start` of the current text."""

    old: str
    new: str
    start: int


def follow_ups(text: str, edits: Sequence[tuple[str, Replacement]], tree: SyntaxTree) -> list[Site]:
    """Sites in `text` that the newest of `edits` (text before, replacement; newest first) implies, in text order.

    `tree` is the parse of the whole `text`.
    """
    if not edits:
        return []
    before, change = edits[0]
    made = widened(before, text, change)
    sites = _renames(text, made, tree) or _arguments(before, text, change, tree)
    if not sites and len(edits) > 1:
        sites = _repeats(text, made, _older(edits[1]), tree)
    return sites[:MAX_SITES]


def widened(before: str, after: str, change: Replacement) -> Made:
    """The replacement grown to word boundaries: `cou|nt` typed over to `cou|nter` is `count` -> `counter`."""
    start, old_end, new_end = change.start, change.end, change.start + len(change.new_text)
    while start > 0 and _is_word(before[start - 1]) and (_starts_word(before, start) or _starts_word(after, start)):
        start -= 1
    while old_end < len(before) and _is_word(before[old_end]) and _is_word(before[old_end - 1 : old_end] or "x"):
        old_end += 1
        new_end += 1
    return Made(before[start:old_end], after[start:new_end], start)


def _starts_word(text: str, place: int) -> bool:
    return _is_word(text[place : place + 1])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _older(edit: tuple[str, Replacement]) -> tuple[str, str]:
    before, change = edit
    after = before[: change.start] + change.new_text + before[change.end :]
    made = widened(before, after, change)
    return made.old, made.new


def _renames(text: str, made: Made, tree: SyntaxTree) -> list[Site]:
    """Other uses of a name whose definition was renamed."""
    if not (_WORD.fullmatch(made.old) and _WORD.fullmatch(made.new)) or made.old == made.new or len(made.old) < 2:
        return []
    is_attribute = text[made.start - 1 : made.start] == "."
    if is_attribute or not _binds(text, made.new, made.start) or _is_bound(text, made.old):
        return []
    function = tree.enclosing_function(made.start, made.start)
    is_own_name = function is not None and function.name == made.new
    span = (function.start, function.end) if function is not None and not is_own_name else (0, len(text))
    is_method = is_own_name and tree.enclosing_class(made.start, made.start) is not None
    sites = []
    for found in _words(text, made.old, *span):
        is_dotted = text[found.start() - 1 : found.start()] == "."
        is_keyword = span == (0, len(text)) and re.match(r"\s*=(?!=)", text[found.end() :]) is not None
        if is_dotted == is_method and not is_keyword and not _is_text(tree, found.start()):
            sites.append(Site(found.start(), found.end(), made.new, "rename"))
    return sites


def _binds(text: str, name: str, start: int) -> bool:
    """Whether the word at `start` is a definition, a parameter or the target of an assignment."""
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    pattern = re.compile(_BINDS.format(re.escape(name)))
    if any(found.start() <= start - line_start < found.end() for found in pattern.finditer(line)):
        return True
    signature = re.match(r"\s*(?:async\s+)?(?:def|function|fn|func)\b[^(]*\(", line)
    return signature is not None and start - line_start >= signature.end()


def _is_bound(text: str, name: str) -> bool:
    """Whether something still defines the name: then the user only chose another one in one place."""
    if re.search(_BINDS.format(re.escape(name)), text):
        return True
    parameters = re.finditer(r"\b(?:def|function|fn|func|lambda)\b[^\n]*", text)
    return any(re.search(rf"[(,]\s*\*{{0,2}}{re.escape(name)}\b", found.group()) for found in parameters)


def _arguments(before: str, text: str, change: Replacement, tree: SyntaxTree) -> list[Site]:
    """Calls of a Python function that got one more required parameter at the end."""
    if tree.language_id != "python":
        return []
    function = tree.enclosing_function(change.start, change.start)
    if function is None:
        return []
    head = re.compile(r"(?:async\s+)?def\s+(\w+)\s*\(").search(text, function.start)
    old_head = re.compile(r"(?:async\s+)?def\s+(\w+)\s*\(").search(before, function.start)
    if head is None or old_head is None or head.group(1) != old_head.group(1) or not head.end() <= change.start:
        return []
    new_list, old_list = _arguments_of(text, head.end() - 1), _arguments_of(before, old_head.end() - 1)
    if new_list is None or old_list is None or not _has_one_more(old_list.parts, new_list.parts):
        return []
    is_method = tree.enclosing_class(function.start, function.start) is not None
    expected = len(old_list.parts) - is_method
    sites = []
    for found in _words(text, head.group(1), 0, len(text)):
        opening = found.end()
        if found.start() == head.start(1) or text[opening : opening + 1] != "(" or _is_text(tree, found.start()):
            continue
        call = _arguments_of(text, opening)
        if call is None or len(call.parts) != expected or any(part.strip().startswith("*") for part in call.parts):
            continue
        if text[found.start() - 1 : found.start()] == "." or not is_method:
            inside = text[opening + 1 : call.end].rstrip(", \t\n")
            new_text = f"{inside}, " if call.parts else ""
            sites.append(Site(opening + 1, call.end, new_text, "argument", hole=len(new_text)))
    return sites


@dataclass(frozen=True, slots=True)
class _Arguments:
    parts: tuple[str, ...]
    end: int
    """Offset of the closing parenthesis."""


def _has_one_more(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """One required parameter more, at the end; `*`, `**` and defaults need no new argument."""
    return len(new) == len(old) + 1 and new[:-1] == old and "=" not in new[-1] and not new[-1].startswith("*")


def _arguments_of(text: str, opening: int) -> _Arguments | None:
    """The comma-separated parts between balanced parentheses, stripped; None when they do not close."""
    depth, parts, begin, quote = 0, [], opening + 1, ""
    for place in range(opening, min(len(text), opening + 2000)):
        character = text[place]
        if quote:
            quote = "" if character == quote and text[place - 1] != "\\" else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth == 0:
                parts.append(text[begin:place])
                return _Arguments(tuple(part.strip() for part in parts if part.strip()), place)
        elif character == "," and depth == 1:
            parts.append(text[begin:place])
            begin = place + 1
    return None


def _repeats(text: str, made: Made, older: tuple[str, str], tree: SyntaxTree) -> list[Site]:
    """What was replaced in the same way twice, where it still stands."""
    old = made.old
    if (old, made.new) != older or len(old.strip()) < _MIN_PATTERN or "\n" in old or old in made.new:
        return []
    sites = []
    place = text.find(old)
    while place >= 0:
        end = place + len(old)
        is_whole = not (_is_word(old[0]) and _is_word(text[place - 1 : place] or " ")) and not (
            _is_word(old[-1]) and _is_word(text[end : end + 1] or " ")
        )
        if is_whole and not tree.is_in_comment(place + 1):
            sites.append(Site(place, end, made.new, "repeat"))
        place = text.find(old, end)
    return sites


def _words(text: str, word: str, start: int, end: int) -> Iterator[re.Match[str]]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)").finditer(text, start, end)


def _is_text(tree: SyntaxTree, place: int) -> bool:
    return tree.is_in_comment(place + 1) or tree.is_in_string(place + 1)
