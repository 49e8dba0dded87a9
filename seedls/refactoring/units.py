"""A file cut into pieces small enough for the model: functions, and classes that fit whole.

Pure: a parsed text in, line-aligned ranges out. It does not know what will be done with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from seedls.syntax import SyntaxNode, SyntaxTree


@dataclass(frozen=True, slots=True)
class Unit:
    """[start, end) in characters: whole lines without the last line ending, unless other code shares those lines."""

    start: int
    end: int
    name: str
    """Dotted, outermost first; the file's own name for a file that is one piece."""
    num_lines: int


@dataclass(frozen=True, slots=True)
class Units:
    """Ascending and disjoint; `too_long` holds what no cut made small enough."""

    fitting: tuple[Unit, ...]
    too_long: tuple[Unit, ...]


def units_of(tree: SyntaxTree, max_lines: int) -> Units:
    """Outermost definitions of at most `max_lines`; a longer class is cut into its methods.

    A file without definitions is one unit. Code between definitions belongs to none.
    """
    text = tree.text
    definitions = _nested(tree.definitions_in(0, len(text)))
    if not definitions:
        whole = _whole(text)
        if whole is None:
            return Units((), ())
        return Units((whole,), ()) if whole.num_lines <= max_lines else Units((), (whole,))
    fitting: list[Unit] = []
    too_long: list[Unit] = []
    for definition in definitions:
        _cut(text, definition, "", max_lines, fitting, too_long)
    return Units(tuple(fitting), tuple(too_long))


@dataclass(slots=True)
class _Definition:
    node: SyntaxNode
    inner: list[_Definition]


def _nested(nodes: list[SyntaxNode]) -> list[_Definition]:
    """The outermost definitions, each holding the ones inside it."""
    top: list[_Definition] = []
    open_definitions: list[_Definition] = []
    for node in sorted(nodes, key=lambda node: (node.start, -node.end)):
        while open_definitions and open_definitions[-1].node.end < node.end:
            open_definitions.pop()
        definition = _Definition(node, [])
        (open_definitions[-1].inner if open_definitions else top).append(definition)
        open_definitions.append(definition)
    return top


def _cut(
    text: str, definition: _Definition, prefix: str, max_lines: int, fitting: list[Unit], too_long: list[Unit]
) -> None:
    node = definition.node
    name = f"{prefix}{node.name or '(unnamed)'}"
    start, end = _whole_lines(text, node.start, node.end)
    unit = Unit(start, end, name, text.count("\n", start, end) + 1)
    if unit.num_lines <= max_lines:
        fitting.append(unit)
    elif definition.inner and "function" not in node.kind and "method" not in node.kind:
        for inner in definition.inner:
            _cut(text, inner, f"{name}.", max_lines, fitting, too_long)
    else:
        too_long.append(unit)


def _whole_lines(text: str, start: int, end: int) -> tuple[int, int]:
    """Widened over indentation and trailing blanks, where nothing else stands on the first and last line."""
    while end > start and text[end - 1] == "\n":
        end -= 1
    first = text.rfind("\n", 0, start) + 1
    if not text[first:start].strip(" \t"):
        start = first
    last = text.find("\n", end)
    last = len(text) if last < 0 else last
    if not text[end:last].strip(" \t\r"):
        end = last
    return start, end


def _whole(text: str) -> Unit | None:
    code = text.rstrip()
    if not code:
        return None
    return Unit(0, len(code), "(whole file)", code.count("\n") + 1)
