"""What tree-sitter knows about a text: errors, enclosing nodes, comments and strings, open blocks.

Owns the table of grammars. A language without a grammar (or whose wheel is not installed) gives None everywhere, and
the callers fall back to plain text. It does not know documents, positions or the protocol; offsets are characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from seedls.text_edits import single_replacement

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Tree

_GRAMMARS: dict[str, tuple[str, str]] = {
    "python": ("tree_sitter_python", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "javascriptreact": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "typescriptreact": ("tree_sitter_typescript", "language_tsx"),
    "rust": ("tree_sitter_rust", "language"),
    "go": ("tree_sitter_go", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "java": ("tree_sitter_java", "language"),
    "lua": ("tree_sitter_lua", "language"),
    "csharp": ("tree_sitter_c_sharp", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "shellscript": ("tree_sitter_bash", "language"),
}
"""LSP language id -> (module, function). Only Python's wheel is a dependency; the others work when installed."""

_FUNCTION_TYPES = frozenset(
    {
        "function_definition",
        "function_declaration",
        "function_item",
        "method_definition",
        "method_declaration",
        "constructor_declaration",
        "arrow_function",
        "function_expression",
        "method",
        "singleton_method",
    }
)
_CLASS_TYPES = frozenset(
    {
        "class_definition",
        "class_declaration",
        "class_specifier",
        "class",
        "struct_item",
        "struct_specifier",
        "struct_declaration",
        "enum_item",
        "enum_declaration",
        "impl_item",
        "trait_item",
        "interface_declaration",
        "record_declaration",
        "type_spec",
        "module",
    }
)
_WRAPPERS = frozenset(
    {
        "decorated_definition",
        "export_statement",
        "type_declaration",
        "namespace_declaration",
        "namespace_definition",
        "declaration_list",
        "mod_item",
    }
)
"""Nodes around definitions."""
_COMMENT_TYPES = frozenset({"comment", "line_comment", "block_comment", "comment_content"})
_STRING_TYPES = frozenset(
    {
        "string",
        "string_content",
        "string_literal",
        "template_string",
        "raw_string_literal",
        "interpreted_string_literal",
        "char_literal",
    }
)


@dataclass(frozen=True, slots=True)
class SyntaxNode:
    """A node as plain values; [start, end) in characters of the text."""

    kind: str
    start: int
    end: int
    name: str = ""


@lru_cache(maxsize=32)
def _parser_for(language_id: str) -> Parser | None:
    entry = _GRAMMARS.get(language_id)
    if entry is None:
        return None
    from tree_sitter import Language, Parser

    try:
        module = import_module(entry[0])
        return Parser(Language(getattr(module, entry[1])()))
    except (ImportError, AttributeError, ValueError):
        return None


class SyntaxTree:
    """The parse of a text, or of a part of it from `origin` on. Immutable; `reparsed` reuses what did not change.

    Offsets that go in and come out count characters of the whole text; those outside of the part are clamped into it.
    """

    __slots__ = ("_data", "_error_spans", "_is_ascii", "_tree", "language_id", "origin", "text")

    def __init__(self, language_id: str, text: str, data: bytes, tree: Tree, origin: int = 0) -> None:
        self.language_id = language_id
        self.text = text
        self.origin = origin
        self._data = data
        self._tree = tree
        self._is_ascii = len(data) == len(text)
        self._error_spans: list[tuple[int, int]] | None = None

    @property
    def end(self) -> int:
        """Where the parsed part ends, in characters of the whole text."""
        return self.origin + len(self.text)

    def moved(self, origin: int) -> SyntaxTree:
        """The same parse where the part begins elsewhere, because text above it changed."""
        return SyntaxTree(self.language_id, self.text, self._data, self._tree, origin)

    def reparsed(self, text: str) -> SyntaxTree:
        """The tree of a changed text, reusing the nodes that did not change.

        Still linear in the number of top-level nodes (5 ms for 10,000 lines): `seedls/syntax_cache.py` parses parts.
        """
        change = single_replacement(self.text, text)
        if change is None:
            return self
        data = _encode(text)
        start = self._byte_offset(self.origin + change.start)
        old_end = self._byte_offset(self.origin + change.end)
        new_end = start + len(_encode(change.new_text))
        tree = self._tree.copy()
        tree.edit(
            start_byte=start,
            old_end_byte=old_end,
            new_end_byte=new_end,
            start_point=_point(self._data, start),
            old_end_point=_point(self._data, old_end),
            new_end_point=_point(data, new_end),
        )
        parser = _parser_for(self.language_id)
        assert parser is not None
        return SyntaxTree(self.language_id, text, data, parser.parse(data, tree), self.origin)

    def region_around(self, start: int, end: int) -> tuple[int, int]:
        """Characters from the top-level node before the one at `start` to the end of the one after that at `end`."""
        first, last = self._top_level_node(start), self._top_level_node(end)
        if first is None or last is None:
            return self.origin, self.end
        before, after = first.prev_sibling, last.next_sibling
        low = self._char_offset(before.start_byte) - self.origin if before is not None else 0
        low = self.text.rfind("\n", 0, min(low, max(0, start - self.origin))) + 1
        high = self._char_offset(after.end_byte) if after is not None else self.end
        return self.origin + low, max(min(end, self.end), high)

    def _top_level_node(self, offset: int) -> Node | None:
        """The child of the root at `offset`, or the last one before it; None when there is none."""
        cursor = self._tree.walk()
        if cursor.goto_first_child_for_byte(self._byte_offset(offset)) is None:
            cursor.goto_last_child()  # behind the last node
        node = cursor.node
        return node if node is not None and node.parent is not None else None

    def part(self, start: int, end: int) -> SyntaxTree:
        """The parse of [start, end) alone."""
        tree = parse(self.language_id, self.text[start - self.origin : end - self.origin], start)
        assert tree is not None
        return tree

    def count_errors(self) -> int:
        """Number of ERROR and MISSING nodes; 0 means the text parses."""
        return len(self._errors())

    def has_errors_outside(self, start: int, end: int) -> bool:
        """True when an ERROR or MISSING node is not wholly inside [start, end)."""
        low, high = self._byte_offset(start), self._byte_offset(end)
        return any(first < low or last > high for first, last in self._errors())

    def _errors(self) -> list[tuple[int, int]]:
        """Byte spans of the ERROR and MISSING nodes, looked for once."""
        if self._error_spans is None:
            self._error_spans = [(node.start_byte, node.end_byte) for node in _errors(self._tree.root_node)]
        return self._error_spans

    def is_in_comment(self, offset: int) -> bool:
        """True when a character typed at `offset` would continue a comment."""
        node = self._node_before(offset)
        if node is None or node.type not in _COMMENT_TYPES:
            return False
        end = self._char_offset(node.end_byte)
        # A line comment goes on at its end; a block comment is over there.
        return offset < end or not self.text[: end - self.origin].endswith("*/")

    def is_in_string(self, offset: int) -> bool:
        """True when `offset` lies strictly inside a string literal."""
        position = self._byte_offset(offset)
        node: Node | None = self._node_before(offset)
        while node is not None:
            if node.type in _STRING_TYPES and node.start_byte < position < node.end_byte:
                return node.type != "interpolation"
            if node.type == "interpolation":
                return False
            node = node.parent
        return False

    def enclosing_function(self, start: int, end: int) -> SyntaxNode | None:
        """The innermost function that holds [start, end)."""
        return self._enclosing(start, end, _FUNCTION_TYPES)

    def enclosing_class(self, start: int, end: int) -> SyntaxNode | None:
        """The innermost class that holds [start, end)."""
        return self._enclosing(start, end, _CLASS_TYPES)

    def scopes_at(self, offset: int) -> list[SyntaxNode]:
        """Functions and classes around `offset`, outermost first."""
        found: list[SyntaxNode] = []
        node: Node | None = self._smallest(offset, offset)
        while node is not None:
            if node.type in _FUNCTION_TYPES or _is_class(node):
                found.append(self._plain(node))
            node = node.parent
        return found[::-1]

    def definitions_in(self, start: int, end: int) -> list[SyntaxNode]:
        """Functions and classes that begin inside [start, end), in text order."""
        low, high = self._byte_offset(start), self._byte_offset(end)
        return [
            self._plain(node)
            for node in _overlapping(self._tree.root_node, low, high)
            if (node.type in _FUNCTION_TYPES or _is_class(node)) and low <= node.start_byte < high
        ]

    def outline(self) -> Iterator[SyntaxNode]:
        """Top-level functions and classes and the members of those classes, in text order; no walk into functions."""
        stack = list(reversed(self._tree.root_node.named_children))
        while stack:
            node = stack.pop()
            if _is_class(node) or node.type in _FUNCTION_TYPES:
                yield self._plain(node)
            if _is_class(node):
                body = node.child_by_field_name("body")
                stack.extend(reversed(body.named_children if body is not None else []))
            elif node.type in _WRAPPERS:
                stack.extend(reversed(node.named_children))

    def scopes_around(self, definition: SyntaxNode) -> list[SyntaxNode]:
        """Functions and classes that hold a definition, outermost first."""
        scopes = self.scopes_at(definition.start)
        return [scope for scope in scopes if (scope.start, scope.end) != (definition.start, definition.end)]

    def is_stub(self, definition: SyntaxNode) -> bool:
        """True when a function's body says that it is still to be written: nothing but `pass`, `...`, a docstring, a
        comment or a `NotImplementedError`, or no statement at all."""
        body = self._body_of(definition)
        if body is None:
            return False
        statements = [node for node in body.named_children if node.type not in _COMMENT_TYPES]
        return all(_is_placeholder(node) for node in statements)

    def _body_of(self, definition: SyntaxNode) -> Node | None:
        node = self._tree.root_node.descendant_for_byte_range(
            self._byte_offset(definition.start), max(0, self._byte_offset(definition.end) - 1)
        )
        if node is not None and node.type == "decorated_definition":
            node = node.child_by_field_name("definition")
        return node.child_by_field_name("body") if node is not None else None

    def has_docstring(self, definition: SyntaxNode) -> bool:
        """True when a Python function or class starts with a string statement."""
        body = self._body_of(definition)
        first = body.named_child(0) if body is not None and body.named_child_count else None
        if first is None or first.type != "expression_statement":
            return False
        value = first.named_child(0)
        return value is not None and value.type in ("string", "concatenated_string")

    def code_tokens(self) -> Iterator[str]:
        """Nodes and the text of leaves, without comments: equal for two texts that differ in comments and layout."""
        stack = [self._tree.root_node]
        while stack:
            node = stack.pop()
            children = [child for child in node.children if child.type not in _COMMENT_TYPES]
            if children and node.type not in _STRING_TYPES:
                yield f"({node.type} {len(children)}"
                stack.extend(reversed(children))
            elif node.parent is not None:  # a text of nothing but comments is as good as an empty one
                yield (node.text or b"").decode("utf-8", "replace")

    def _enclosing(self, start: int, end: int, kinds: frozenset[str]) -> SyntaxNode | None:
        node: Node | None = self._smallest(start, end)
        while node is not None and not (node.type in kinds and (_is_class(node) or node.type in _FUNCTION_TYPES)):
            node = node.parent
        return self._plain(node) if node is not None else None

    def _smallest(self, start: int, end: int) -> Node | None:
        low, high = self._byte_offset(start), self._byte_offset(end)
        return self._tree.root_node.descendant_for_byte_range(low, high)

    def _node_before(self, offset: int) -> Node | None:
        """The node of the character left of `offset`: typing goes on inside what was just typed."""
        position = self._byte_offset(offset)
        low = max(0, position - 1)
        return self._tree.root_node.descendant_for_byte_range(low, position)

    def _plain(self, node: Node) -> SyntaxNode:
        name_node = _name_of(node)
        name = name_node.text.decode("utf-8", "replace") if name_node is not None and name_node.text else ""
        outer = node.parent if node.parent is not None and node.parent.type == "decorated_definition" else node
        return SyntaxNode(node.type, self._char_offset(outer.start_byte), self._char_offset(node.end_byte), name)

    def _byte_offset(self, characters: int) -> int:
        inside = min(max(0, characters - self.origin), len(self.text))
        return inside if self._is_ascii else len(_encode(self.text[:inside]))

    def _char_offset(self, position: int) -> int:
        inside = position if self._is_ascii else len(self._data[:position].decode("utf-8", "surrogatepass"))
        return self.origin + inside


def parse(language_id: str, text: str, origin: int = 0) -> SyntaxTree | None:
    """Parse `text`, which begins at `origin` of a whole text, or None when there is no grammar for the language."""
    parser = _parser_for(language_id)
    if parser is None:
        return None
    data = _encode(text)
    return SyntaxTree(language_id, text, data, parser.parse(data), origin)


def adds_errors(before: SyntaxTree, new_text: str) -> bool:
    """True when `new_text` has more syntax errors than the parsed text."""
    after = before.reparsed(new_text).count_errors()
    return after > 0 and after > before.count_errors()


def _is_class(node: Node) -> bool:
    """`class` is also a keyword's token, and `module` the root of a Python file."""
    return node.type in _CLASS_TYPES and node.is_named and node.parent is not None


def _is_placeholder(statement: Node) -> bool:
    if statement.type == "pass_statement":
        return True
    text = (statement.text or b"").decode("utf-8", "replace").strip()
    if statement.type == "raise_statement":
        return "NotImplementedError" in text
    inner = statement.named_child(0) if statement.type == "expression_statement" else None
    return inner is not None and inner.type in ("string", "concatenated_string", "ellipsis")


def _name_of(node: Node) -> Node | None:
    """The name; in C it hides inside the declarator, in an `impl` it is the type."""
    found = node.child_by_field_name("name") or node.child_by_field_name("type" if node.type == "impl_item" else "name")
    inner = node.child_by_field_name("declarator")
    while found is None and inner is not None:
        if inner.type in ("identifier", "field_identifier", "qualified_identifier", "destructor_name", "operator_name"):
            return inner
        inner = inner.child_by_field_name("declarator")
    return found


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _point(data: bytes, position: int) -> tuple[int, int]:
    """tree-sitter's (row, column in bytes) of a byte offset."""
    return data.count(b"\n", 0, position), position - (data.rfind(b"\n", 0, position) + 1)


def _errors(root: Node) -> Iterator[Node]:
    """ERROR and MISSING nodes, visiting only subtrees that contain one. A missing token that the grammar hides (the end
    of a line in Python) is no node: the one around it stands for it."""
    stack = [root] if root.has_error else []
    while stack:
        node = stack.pop()
        broken = [child for child in node.children if child.has_error]
        if node.is_error or node.is_missing or not broken:
            yield node
        stack.extend(broken)


def _overlapping(root: Node, low: int, high: int) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.end_byte >= low and node.start_byte < high:
            yield node
            stack.extend(reversed(node.named_children))
