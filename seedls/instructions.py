"""The built-in rewrites: titles, kinds, what the model is told, and where each one makes sense.

Owns the list. It does not know the protocol's objects, documents or the model; offering costs one look at the tree.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedls.syntax import SyntaxNode, SyntaxTree


@dataclass(frozen=True, slots=True)
class Instruction:
    """One rewrite the user can choose."""

    id: str
    title: str
    prompt: str
    languages: tuple[str, ...] = ()
    """Empty: any language."""


TYPE_HINTS = Instruction(
    "typeHints",
    "Add type hints",
    "Add type hints to every parameter and return value. Change nothing else.",
    ("python",),
)
DOCSTRING = Instruction(
    "docstring",
    "Add a docstring",
    "Add a short docstring that says what the code does. Change nothing else.",
    ("python",),
)
SIMPLIFY = Instruction("simplify", "Simplify", "Simplify this code without changing what it does.")
COMPLETE = Instruction(
    "complete",
    "Complete this block",
    "Implement the body that is missing in this code. Keep its signature and its docstring as they are.",
)
HANDLE_ERRORS = Instruction(
    "handleErrors",
    "Handle errors",
    "Handle the errors that this code can run into. Keep what it does when nothing goes wrong.",
)
MODERNISE = Instruction(
    "modernise",
    "Modernise",
    "Use the current idioms of the language in this code without changing what it does.",
)
RENAME = Instruction(
    "rename",
    "Rename for clarity",
    "Give the local variables of this code names that say what they hold. Change nothing else.",
)
EXPLAIN = Instruction(
    "explain",
    "Explain as a comment",
    "Add a short comment above this code that says what it does and why. Change nothing else.",
)
EXTRACT = Instruction(
    "extract",
    "Extract a function",
    "Move the following lines into a new function right above this one and call it in their place. Change nothing else."
    "\n\n{lines}",
)
TESTS = Instruction("tests", "Add tests in a new file", "Write tests of this code in a new file.", ("python",))
REPAIR = Instruction("repair", "Repair this file", "Repair the syntax errors in this code. Change nothing else.")
FIX = Instruction("fix", "Fix", "Fix the reported problem. Change nothing else.")

_REFACTORINGS = (TYPE_HINTS, DOCSTRING, COMPLETE, SIMPLIFY, HANDLE_ERRORS, MODERNISE, RENAME, EXPLAIN, TESTS)
INSTRUCTIONS = {instruction.id: instruction for instruction in (*_REFACTORINGS, EXTRACT, REPAIR, FIX)}
_MAX_EXTRACTED = 1500
"""Characters: the lines to extract are told in the instruction."""


@dataclass(frozen=True, slots=True)
class Target:
    """The characters a rewrite may touch, and what they are called in its title."""

    start: int
    end: int
    name: str


def target_of(text: str, start: int, end: int, tree: SyntaxTree | None) -> Target | None:
    """The selection; without one, the function around the caret. None when there is nothing to rewrite."""
    if start < end:
        return Target(start, end, "selection") if text[start:end].strip() else None
    function = tree.enclosing_function(start, end) if tree is not None else None
    return Target(function.start, function.end, function.name or "function") if function else None


def refactorings_for(target: Target, language_id: str, tree: SyntaxTree | None) -> list[Instruction]:
    """The rewrites that make sense there, most specific first."""
    inside = tree.definitions_in(target.start, target.end) if tree is not None else []
    functions = [node for node in inside if "function" in node.kind or "method" in node.kind]
    fits = {
        TYPE_HINTS.id: bool(functions),
        DOCSTRING.id: _lacks_docstring(inside, tree),
        COMPLETE.id: tree is not None and any(tree.is_stub(node) for node in functions),
        HANDLE_ERRORS.id: bool(functions),
        RENAME.id: bool(functions),
        TESTS.id: testable(target, tree) is not None,
    }
    return [
        instruction
        for instruction in _REFACTORINGS
        if (not instruction.languages or language_id in instruction.languages) and fits.get(instruction.id, True)
    ]


def extraction_of(text: str, start: int, end: int, tree: SyntaxTree | None) -> tuple[Target, str] | None:
    """The function to change and what to tell the model, when the selection is a part of a function's body."""
    lines = text[start:end].strip("\n")
    function = tree.enclosing_function(start, end) if tree is not None else None
    if tree is None or function is None or len(lines) > _MAX_EXTRACTED or lines.count("\n") < 1:
        return None
    signature_end = text.find("\n", function.start)
    holds_definition = any(node.start >= start for node in tree.definitions_in(start, end))
    if not signature_end < start < end <= function.end or holds_definition:
        return None
    return Target(function.start, function.end, function.name or "function"), EXTRACT.prompt.format(lines=lines)


def testable(target: Target, tree: SyntaxTree | None) -> str | None:
    """Name of the one top-level function or class in the range, which another file can import; None without one."""
    if tree is None:
        return None
    inside = [node for node in tree.definitions_in(target.start, target.end) if not tree.scopes_around(node)]
    return inside[0].name if len(inside) == 1 and inside[0].name and not inside[0].name.startswith("_") else None


def _lacks_docstring(definitions: list[SyntaxNode], tree: SyntaxTree | None) -> bool:
    return tree is not None and any(not tree.has_docstring(node) for node in definitions)
