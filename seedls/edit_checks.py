"""What a model's edit must pass before anybody sees it, or before it is kept. A check answers None, or why not.

Pure: texts in, a reason out. In the editor (`reason_not_to_offer`) the user looks at every edit; over a whole codebase
nobody does, so `reason_to_refuse` also asks that other files can go on using this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

from seedls.python_facts import (
    TYPING_NAMES,
    code_without_annotations,
    code_without_docstrings,
    defined_names,
    parse_module,
    signatures,
    unknown_names,
    with_typing_imports,
)
from seedls.syntax import SyntaxTree, adds_errors

MAX_GROWTH = 3.0
SPARE_LINES = 40
MIN_KEPT = 0.25
SHORT_LINES = 12

_UNFINISHED = ("deadline", "length", "cancelled", "low_confidence")
_ABOUT_COMMENTS = re.compile(r"\b(?:doc-?strings?|doc comments?|comments?|documentation)\b", re.IGNORECASE)
_ABOUT_TYPES = re.compile(r"\b(?:type hints?|type annotations?|annotat\w*|typing)\b", re.IGNORECASE)
_ABOUT_CODE = re.compile(
    r"\b(?:renam\w*|refactor\w*|simplif\w*|convert\w*|replac\w*|extract\w*|inlin\w*|rewrit\w*|mov(?:e|ing)|split\w*"
    r"|logging|handl(?:e|ing)|implement\w*|bugs?|unused|dead code|raise\w*|check\w*|moderni\w*)\b",
    re.IGNORECASE,
)
_ABOUT_CALLS = re.compile(
    r"\b(?:signatures?|renam\w*|remov\w*|reorder\w*|drop\w*|async\w*|await\w*|property|properties|static|"
    r"staticmethods?|classmethods?|required|keyword|positional)\b",
    re.IGNORECASE,
)

Scope = Literal["all", "annotations", "comments"]
"""What an edit may change. `annotations`: type hints, and comments too."""


@dataclass(frozen=True, slots=True)
class Edit:
    """An answer of the model: `new` is the whole text after `old[start:end]` was rewritten."""

    tree: SyntaxTree
    """The parse of `old`."""
    new: str
    start: int
    end: int
    instruction: str
    scope: Scope

    @property
    def old(self) -> str:
        """The whole text before."""
        return self.tree.text

    @property
    def region(self) -> tuple[str, str]:
        """What stood in the range, and what stands there now."""
        return self.old[self.start : self.end], self.new[self.start : len(self.new) - (len(self.old) - self.end)]


def scope_of(instruction: str) -> Scope:
    """What an instruction asks to change: it must speak of comments or type hints and of nothing else to be narrow."""
    if _ABOUT_CODE.search(instruction):
        return "all"
    if _ABOUT_TYPES.search(instruction):
        return "annotations"
    return "comments" if _ABOUT_COMMENTS.search(instruction) else "all"


def unfinished_reason(is_final: bool, finish_reason: str) -> str | None:
    """A rewrite that was cut short has lost the rest of the code."""
    return f"the model did not finish ({finish_reason})" if not is_final or finish_reason in _UNFINISHED else None


def reason_not_to_offer(edit: Edit) -> str | None:
    """The first check that fails of those that an edit must pass wherever it is shown, cheap ones first."""
    checks: list[Callable[[Edit], str | None]] = [_outside, _size, _syntax]
    if edit.tree.language_id == "python":
        checks += [_python_syntax, _names_at_hand]
    if edit.scope != "all":
        checks.append(_scope)
    return _first_reason(checks, edit)


def reason_to_refuse(edit: Edit) -> str | None:
    """The first check that fails of those that an unwatched edit must pass, cheap ones first."""
    checks: list[Callable[[Edit], str | None]] = [_outside, _size, _syntax]
    if edit.tree.language_id == "python":
        checks += [_python_syntax, _names, _definitions, _calls]
    else:
        checks.append(_definitions_of_grammar)
    if edit.scope != "all":
        checks.append(_scope)
    return _first_reason(checks, edit)


def _first_reason(checks: list[Callable[[Edit], str | None]], edit: Edit) -> str | None:
    reasons = (check(edit) for check in checks)
    return next((reason for reason in reasons if reason is not None), None)


def _outside(edit: Edit) -> str | None:
    before, after = edit.old[: edit.start], edit.old[edit.end :]
    fits = len(edit.new) >= len(before) + len(after)
    if fits and edit.new.startswith(before) and edit.new.endswith(after):
        return None
    return "it touched code outside the unit"


def _size(edit: Edit) -> str | None:
    old, new = (_code_lines(text) for text in edit.region)
    if old and not new:
        return "it would delete the unit"
    if new > old * MAX_GROWTH + SPARE_LINES:
        return f"it grew from {old} to {new} lines"
    if edit.scope == "all" and old > SHORT_LINES and new < old * MIN_KEPT:
        return f"it shrank from {old} to {new} lines"
    return None


def _code_lines(text: str) -> int:
    return sum(1 for line in text.split("\n") if line.strip())


def _syntax(edit: Edit) -> str | None:
    return "it would add a syntax error" if adds_errors(edit.tree, edit.new) else None


def _python_syntax(edit: Edit) -> str | None:
    if parse_module(edit.old) is not None and parse_module(edit.new) is None:
        return "it would no longer compile"
    return None


def _names(edit: Edit) -> str | None:
    """Names for type hints are imported afterwards (`with_missing_imports`)."""
    return _unknown(edit, TYPING_NAMES.keys())


def _names_at_hand(edit: Edit) -> str | None:
    """Nothing is imported for an edit that may only touch a selection; a name that the user asked for is theirs."""
    return _unknown(edit, _asked_for(edit.instruction))


def _asked_for(instruction: str) -> set[str]:
    """Names in an instruction: what stands in backticks, and words that no sentence has (`snake_case`, `CamelCase`)."""
    quoted = {name for code in re.findall(r"`([^`]+)`", instruction) for name in re.findall(r"[^\W\d]\w*", code)}
    return quoted | set(re.findall(r"\b(?:[^\W\d]\w*_\w*|_\w+|\w*[^\W\d_A-Z]\w*[A-Z]\w*)\b", instruction))


def _unknown(edit: Edit, allowed: Collection[str]) -> str | None:
    before, after = unknown_names(edit.old), unknown_names(edit.new)
    if before is None or after is None:
        return "it adds a star import" if before is not None else None
    new = sorted(after - before - set(allowed))
    return f"it uses {_listed(new)}, which the file does not define" if new else None


def with_missing_imports(edit: Edit) -> str:
    """The new text of an edit that passed, with the typing names imported that it is the first to use."""
    if edit.tree.language_id != "python":
        return edit.new
    before, after = unknown_names(edit.old), unknown_names(edit.new)
    missing = TYPING_NAMES.keys() & (after - before) if before is not None and after is not None else set()
    return with_typing_imports(edit.new, missing)


def _definitions(edit: Edit) -> str | None:
    before, after = defined_names(edit.old), defined_names(edit.new)
    return None if before is None or after is None else _lost(edit, before - after)


def _calls(edit: Edit) -> str | None:
    """Other files may call what this one defines; only an instruction about that may change how."""
    if _ABOUT_CALLS.search(edit.instruction):
        return None
    before, after = signatures(edit.old) or {}, signatures(edit.new) or {}
    broken = sorted(name for name, old in before.items() if name in after and not after[name].accepts_calls_of(old))
    return f"it changes how {_listed(broken)} can be called" if broken else None


def _definitions_of_grammar(edit: Edit) -> str | None:
    inside = edit.tree.definitions_in(edit.start, edit.end)
    before = {node.name for node in inside if node.name}
    changed = edit.tree.reparsed(edit.new)
    after = {node.name for node in changed.definitions_in(edit.start, edit.start + len(edit.region[1]))}
    return _lost(edit, frozenset(before - after))


def _lost(edit: Edit, names: frozenset[str]) -> str | None:
    """Other files may use what this one defines; only an instruction that names it may take it away."""
    words = set(re.findall(r"\w+", edit.instruction))
    lost = sorted(name for name in names if name.rpartition(".")[2] not in words)
    return f"it removes {_listed(lost)}, which other code may use" if lost else None


def _scope(edit: Edit) -> str | None:
    is_python = edit.tree.language_id == "python"
    facts: Callable[[str], str | None] = partial(_tokens, edit.tree)
    what = "docstrings and comments"
    if is_python and edit.scope == "comments":
        facts = code_without_docstrings
    elif edit.scope == "annotations":
        if not is_python:
            return None  # which tokens are types is not known for other languages
        facts, what = code_without_annotations, "type hints and comments"
    before = facts(edit.old)
    if before is None:
        return f"the file does not compile, so it cannot be shown that only {what} changed"
    return f"it changes code, not only {what}" if facts(edit.new) != before else None


def _tokens(tree: SyntaxTree, text: str) -> str:
    return "\0".join(tree.reparsed(text).code_tokens())


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
