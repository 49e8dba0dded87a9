"""The patterns of `.gitignore`, for folders without git. Pure: texts and relative paths in, a verdict out.

Owns the translation of git's globs. It does not read files and does not know which of them are source code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a `.gitignore`; `pattern` matches a path relative to that file's folder, with forward slashes."""

    pattern: re.Pattern[str]
    is_negated: bool
    is_only_for_folders: bool


@dataclass(frozen=True, slots=True)
class RuleFile:
    """The rules of one `.gitignore` and the folder it stands in ("" for the top, else with a trailing slash)."""

    folder: str
    rules: tuple[Rule, ...]


def parse_rules(text: str, folder: str = "") -> RuleFile:
    """Read a `.gitignore`; lines that git would ignore are left out."""
    rules = (_rule(line) for line in text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"))
    return RuleFile(folder, tuple(rule for rule in rules if rule is not None))


def is_ignored(path: str, is_folder: bool, rule_files: list[RuleFile]) -> bool:
    """The verdict of the innermost file with a matching rule; its last matching rule counts.

    `rule_files` from the outermost to the innermost; folders above `path` are taken to be not ignored.
    """
    for rules in reversed(rule_files):
        if not path.startswith(rules.folder):
            continue
        inner = path[len(rules.folder) :]
        for rule in reversed(rules.rules):
            if (is_folder or not rule.is_only_for_folders) and rule.pattern.fullmatch(inner):
                return not rule.is_negated
    return False


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob with git's meaning: without a slash it matches a name at any depth, with one the whole path."""
    is_anchored = "/" in glob
    body = _regex(glob.removeprefix("/"))
    return re.compile(body if is_anchored else f"(?:.*/)?{body}", re.DOTALL)


def _rule(line: str) -> Rule | None:
    text = _without_trailing_spaces(line)
    if not text or text.startswith("#"):
        return None
    is_negated = text.startswith("!")
    text = text.removeprefix("!")
    is_only_for_folders = text.endswith("/")
    text = text.removesuffix("/")
    return Rule(glob_pattern(text), is_negated, is_only_for_folders) if text else None


def _without_trailing_spaces(line: str) -> str:
    end = len(line)
    while end and line[end - 1] == " " and not (end > 1 and line[end - 2] == "\\"):
        end -= 1
    return line[:end]


def _regex(glob: str) -> str:
    pieces: list[str] = []
    place = 0
    while place < len(glob):
        piece, place = _next_piece(glob, place)
        pieces.append(piece)
    return "".join(pieces)


def _next_piece(glob: str, place: int) -> tuple[str, int]:
    """The regular expression of what begins at `place`, and where the next piece begins."""
    at_name_start = place == 0 or glob[place - 1] == "/"
    if at_name_start and glob.startswith("**/", place):
        return "(?:.*/)?", place + 3
    if at_name_start and glob[place:] == "**":
        return ".+", place + 2
    character = glob[place]
    if character == "*":
        end = place
        while end < len(glob) and glob[end] == "*":
            end += 1
        return "[^/]*", end
    if character == "?":
        return "[^/]", place + 1
    if character == "[":
        return _character_class(glob, place)
    if character == "\\" and place + 1 < len(glob):
        return re.escape(glob[place + 1]), place + 2
    return re.escape(character), place + 1


def _character_class(glob: str, place: int) -> tuple[str, int]:
    """`[abc]`, `[!a-z]`; an unclosed bracket matches nothing, as in git."""
    first = place + 1
    is_negated = glob[first : first + 1] in ("!", "^")
    first += is_negated
    end = glob.find("]", first + 1)
    if end < 0:
        return "(?!)", len(glob)
    body = re.sub(r"([\\\[\]^&~|])", r"\\\1", glob[first:end])
    try:
        re.compile(f"[{body}]")
    except re.error:  # a range that runs backwards
        return "(?!)", end + 1
    return f"(?!/)[{'^' if is_negated else ''}{body}]", end + 1
