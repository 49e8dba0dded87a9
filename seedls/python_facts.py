"""What Python's own parser knows about a text: unknown names, definitions, signatures, the tree without docstrings.

Owns static analysis of one module. It runs nothing of it, and answers None for what does not compile.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

_IMPLICIT = frozenset(
    {*dir(builtins), "__file__", "__name__", "__doc__", "__package__", "__spec__", "__loader__", "__path__"}
    | {"__builtins__", "__cached__", "__annotations__", "__class__", "__module__", "__qualname__", "__dict__"}
    | {"WindowsError", "reveal_type"}
)

_TYPING_MODULES = {
    "typing": (
        "Any BinaryIO Callable ClassVar Dict Final FrozenSet Generic IO List Literal NamedTuple NoReturn Optional "
        "Protocol Set TextIO Tuple Type TypeVar TypedDict Union cast overload"
    ),
    "collections.abc": (
        "AsyncGenerator AsyncIterable AsyncIterator Awaitable Collection Coroutine Generator Hashable Iterable "
        "Iterator Mapping MutableMapping MutableSequence MutableSet Sequence"
    ),
}

TYPING_NAMES = {name: module for module, names in _TYPING_MODULES.items() for name in names.split()}
"""Names that type hints need and that can be imported without side effects -> their module."""


def parse_module(text: str) -> ast.Module | None:
    """The syntax tree, or None for what does not compile. Shared by all who ask about this text: not to be changed."""
    return _parsed(text)


# Of the text before and after an edit, which several checks ask about; the one after is the next edit's before.
@lru_cache(maxsize=2)
def _parsed(text: str) -> ast.Module | None:
    return _parse(text)


def _parse(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the user's code are not ours to report
        try:
            module = ast.parse(text)
            compile(text, "module", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return module


@lru_cache(maxsize=2)
def unknown_names(text: str) -> frozenset[str] | None:
    """Names that are read but bound nowhere they could be seen: no builtin, import, global or enclosing scope.

    None when that cannot be known: the text does not compile, or imports with a star.
    """
    module = parse_module(text)
    if module is None or _has_star_import(module):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Python looks for no names in annotations that are never evaluated; here they count.
        try:
            top = symtable.symtable(_without_future(text, module), "module", "exec")
        except SyntaxError:  # an import that shares its line with the end of a long string
            top = symtable.symtable(text, "module", "exec")
    tables = list(_tables(top))
    known = set(_IMPLICIT) | {symbol.get_name() for symbol in top.get_symbols() if _binds(symbol)}
    for table in tables:
        known |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_declared_global() and _binds(symbol)}
    read = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or (table is top and not _binds(symbol)))
    }
    return frozenset(read - known)


@lru_cache(maxsize=2)
def defined_names(text: str) -> frozenset[str] | None:
    """Dotted names of functions and classes that other code can reach, and of names assigned at module level."""
    module = parse_module(text)
    if module is None:
        return None
    return frozenset(_definitions(module.body, "")) | frozenset(_assigned(module.body))


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called: parameter name -> may be left out, in order; `self` counts like any other."""

    positional: dict[str, bool]
    keyword: dict[str, bool]
    stars: tuple[bool, bool]
    """Takes `*args`, takes `**kwargs`."""
    kind: frozenset[str]
    """Of `async`, `property`, `staticmethod`, `classmethod`."""

    def accepts_calls_of(self, other: Signature) -> bool:
        """True when every call that `other` takes may also be made here."""
        shared = list(self.positional.items())[: len(other.positional)]
        extra = list(self.positional.items())[len(other.positional) :]
        return (
            self.kind == other.kind
            and all(has >= had for has, had in zip(self.stars, other.stars, strict=True))
            and [name for name, _ in shared] == list(other.positional)
            and all(optional >= other.positional[name] for name, optional in shared)
            and all(optional or name in other.keyword for name, optional in extra)
            and all(self._optional(name) >= optional for name, optional in other.keyword.items())
            and all(optional or name in other.keyword for name, optional in self.keyword.items())
        )

    def _optional(self, name: str) -> int:
        """1 when the keyword may be left out, 0 when it is needed, -1 when it is not taken."""
        return int({**self.positional, **self.keyword}.get(name, -1))


@lru_cache(maxsize=2)
def signatures(text: str) -> dict[str, Signature] | None:
    """Dotted name -> signature of the functions that other code can reach; None for what does not compile."""
    module = parse_module(text)
    return None if module is None else dict(_signatures(module.body, ""))


def code_without_annotations(text: str) -> str | None:
    """As `code_without_docstrings`, with annotations and the imports of `TYPING_NAMES` taken off as well.

    In a class body an annotation makes a field of a plain assignment, so there it counts; its type does not.
    """
    module = _parse(text)
    return None if module is None else code_without_docstrings(ast.unparse(_Unannotated().visit(module)))


class _Unannotated(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = node.type_comment = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        for idx, inner in enumerate(node.body):
            if isinstance(inner, ast.Assign) and getattr(inner, "was_annotated", False):
                target = inner.targets[0]
                assert isinstance(target, ast.Name | ast.Attribute | ast.Subscript)
                annotation = ast.Constant(value=...)
                node.body[idx] = ast.AnnAssign(target, annotation, inner.value, simple=1)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            node.annotation = ast.Constant(value=...)
            return node
        plain = ast.Assign([node.target], node.value, lineno=node.lineno)
        plain.was_annotated = True  # type: ignore[attr-defined]  # a note for visit_ClassDef
        return plain

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        node.names = [name for name in node.names if TYPING_NAMES.get(name.name) != node.module or name.asname]
        return node if node.names else None

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        return node


def with_typing_imports(text: str, names: Collection[str]) -> str:
    """`text` (line ends `\\n`) with `names` of `TYPING_NAMES` imported behind the imports at its top."""
    module = parse_module(text)
    if module is None or not names:
        return text
    modules = sorted({TYPING_NAMES[name] for name in names})
    lines = [
        f"from {module_name} import {', '.join(sorted(name for name in names if TYPING_NAMES[name] == module_name))}"
        for module_name in modules
    ]
    line, before, after = _place_of_imports(module)
    old = text.split("\n")
    return "\n".join([*old[:line], *before, *lines, *after, *old[line:]])


def _place_of_imports(module: ast.Module) -> tuple[int, list[str], list[str]]:
    """Number of lines that stay above, and the blank lines to put around."""
    body = module.body
    has_docstring = ast.get_docstring(module, clean=False) is not None
    num_head = int(has_docstring)
    while num_head < len(body) and isinstance(body[num_head], ast.Import | ast.ImportFrom):
        num_head += 1
    if num_head == 0:
        first = [body[0].lineno, *(item.lineno for item in getattr(body[0], "decorator_list", []))] if body else [1]
        return min(first) - 1, [], ["", ""]
    end = body[num_head - 1].end_lineno or 1
    return end, [""] if has_docstring and num_head == 1 else [], []


def code_without_docstrings(text: str) -> str | None:
    """The syntax tree as text, without docstrings, comments, layout; equal for two texts that run the same."""
    module = _parse(text)
    if module is None:
        return None
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
            # A body of nothing but a docstring, and one with a `pass` beside it, run the same.
            node.body = [inner for inner in node.body if not isinstance(inner, ast.Pass)]
    return ast.dump(module)


def _without_future(text: str, module: ast.Module) -> str:
    lines = text.split("\n")
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            number, end = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            lines[number] = "pass" + (lines[end][node.end_col_offset or 0 :] if lines[end].isascii() else "")
            lines[number + 1 : end + 1] = [""] * (end - number)
    return "\n".join(lines)


def _has_star_import(module: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and any(name.name == "*" for name in node.names) for node in ast.walk(module)
    )


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _tables(child)


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace() or symbol.is_parameter()


def _definitions(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in _flat(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name
            yield from _definitions(node.body, f"{prefix}{node.name}.")


def _signatures(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Signature]]:
    for node in _flat(body):
        if isinstance(node, ast.ClassDef):
            yield from _signatures(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, _signature(node)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Signature:
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    num_needed = len(names) - len(arguments.defaults)
    decorators = {name.id for name in node.decorator_list if isinstance(name, ast.Name)}
    kind = decorators & {"property", "staticmethod", "classmethod"}
    return Signature(
        {name: idx >= num_needed for idx, name in enumerate(names)},
        {
            argument.arg: default is not None
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        },
        (arguments.vararg is not None, arguments.kwarg is not None),
        frozenset(kind | {"async"} if isinstance(node, ast.AsyncFunctionDef) else kind),
    )


def _assigned(body: list[ast.stmt]) -> Iterator[str]:
    for node in _flat(body):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a body, and those under its `if`, `try`, `with` and loops."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                break
            for inner in getattr(node, field, []):
                yield from _flat(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])
