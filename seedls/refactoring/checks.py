"""What an edit of one unit must pass before it is kept. Each check answers None, or the reason to refuse.

Pure: texts in, a reason out. `rewrite.py` has the editor's version of the first ones; here nobody looks at each edit,
so more is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from seedls.refactoring.python_facts import (
    code_without_docstrings,
    defined_names,
    parse_module,
    signatures,
    unknown_names,
)
from seedls.syntax import SyntaxTree, adds_errors

MAX_GROWTH = 3.0
SPARE_LINES = 40
MIN_KEPT = 0.25
SHORT_LINES = 12

_UNFINISHED = ("deadline", "length", "cancelled", "low_confidence")
_ABOUT_COMMENTS = re.compile(r"\b(?:doc-?strings?|doc comments?|comments?|documentation)\b", re.IGNORECASE)
_ABOUT_CODE = re.compile(
    r"\b(?:renam\w*|refactor\w*|simplif\w*|convert\w*|replac\w*|extract\w*|inlin\w*|annotat\w*|type hints?|typing"
    r"|rewrit\w*|mov(?:e|ing)|split\w*|logging|handl(?:e|ing)|implement\w*|bugs?|unused|dead code|raise\w*|check\w*)\b",
    re.IGNORECASE,
)
_ABOUT_CALLS = re.compile(
    r"\b(?:signatures?|renam\w*|remov\w*|reorder\w*|drop\w*|async\w*|await\w*|property|properties|static|"
    r"staticmethods?|classmethods?|required|keyword|positional)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Edit:
    """An answer of the model: `new` is the whole text after `old[start:end]` was rewritten."""

    tree: SyntaxTree
    """The parse of `old`."""
    new: str
    start: int
    end: int
    instruction: str
    comments_only: bool

    @property
    def old(self) -> str:
        """The whole text before."""
        return self.tree.text

    @property
    def region(self) -> tuple[str, str]:
        """What stood in the range, and what stands there now."""
        return self.old[self.start : self.end], self.new[self.start : len(self.new) - (len(self.old) - self.end)]


def is_about_comments_only(instruction: str) -> bool:
    """True when an instruction speaks of docstrings or comments and of no other change."""
    return bool(_ABOUT_COMMENTS.search(instruction)) and not _ABOUT_CODE.search(instruction)


def unfinished_reason(is_final: bool, finish_reason: str) -> str | None:
    """A rewrite that was cut short has lost the rest of the code."""
    return f"the model did not finish ({finish_reason})" if not is_final or finish_reason in _UNFINISHED else None


def reason_to_refuse(edit: Edit) -> str | None:
    """The first check that fails, cheap ones first."""
    checks: list[Callable[[Edit], str | None]] = [_outside, _size, _syntax]
    if edit.tree.language_id == "python":
        checks += [_python_syntax, _names, _definitions, _calls]
    else:
        checks.append(_definitions_of_grammar)
    if edit.comments_only:
        checks.append(_comments_only)
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
    if not edit.comments_only and old > SHORT_LINES and new < old * MIN_KEPT:
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
    before, after = unknown_names(edit.old), unknown_names(edit.new)
    if before is None or after is None:
        return "it adds a star import" if before is not None else None
    new = sorted(after - before)
    return f"it uses {_listed(new)}, which the file does not define" if new else None


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


def _comments_only(edit: Edit) -> str | None:
    facts: Callable[[str], str | None]
    facts = code_without_docstrings if edit.tree.language_id == "python" else partial(_tokens, edit.tree)
    before = facts(edit.old)
    if before is None:
        return "the file does not compile, so it cannot be shown that only comments changed"
    return "it changes code, not only docstrings and comments" if facts(edit.new) != before else None


def _tokens(tree: SyntaxTree, text: str) -> str:
    return "\0".join(tree.reparsed(text).code_tokens())


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
