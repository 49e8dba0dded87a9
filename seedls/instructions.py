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
FIX = Instruction("fix", "Fix", "Fix the reported problem. Change nothing else.")

INSTRUCTIONS = {instruction.id: instruction for instruction in (TYPE_HINTS, DOCSTRING, SIMPLIFY, FIX)}


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
    functions = [node for node in inside if "function" in node.kind]
    offered = []
    for instruction in (TYPE_HINTS, DOCSTRING, SIMPLIFY):
        if instruction.languages and language_id not in instruction.languages:
            continue
        if instruction is TYPE_HINTS and not functions:
            continue
        if instruction is DOCSTRING and not _lacks_docstring(inside, tree):
            continue
        offered.append(instruction)
    return offered


def _lacks_docstring(definitions: list[SyntaxNode], tree: SyntaxTree | None) -> bool:
    return tree is not None and any(not tree.has_docstring(node) for node in definitions)
