"""Refactorings of a whole class or function, done on its syntax tree: the instruction and the text it leads to.

Each works at positions that the tree names, so formatting and comments around a change stay. They change one site or
many; `model_runtime.training.data.edits` has those that fit one short function.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator

from model_runtime.training.data.edits import Rewrite, apply_rewrites, parse_function
from model_runtime.training.data.edits import rename as rename_in_function
from model_runtime.training.data.syntax_spans import LineOffsets

Refactored = tuple[str, str]
"""(instruction, text after)."""
Refactor = Callable[[str, ast.Module, random.Random], Refactored | None]

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_NEW_NAMES = ("payload", "settings", "cursor_row", "pending", "selected", "total_size", "visited", "handler", "origin")
_NEW_ERRORS = ("InvalidInputError", "FormatError", "SettingsError")


def rename_local(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """A parameter or local variable of one function, everywhere in it."""
    function = parse_function(text)
    change = rename_in_function(function, rng) if function else None
    return (change.redo[0], apply_rewrites(text, change.rewrites)) if change else None


def rename_attribute(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """`self.old` in all of a class."""
    sites = Counter(node.attr for node in _self_attributes(tree))
    methods = {node.name for node in ast.walk(tree) if isinstance(node, _Function)}
    names = sorted(name for name, count in sites.items() if count >= 3 and name not in methods)
    if not names:
        return None
    old, new = rng.choice(names), _fresh(text, rng, _NEW_NAMES)
    return f"Rename the attribute `{old}` to `{new}`.", _with_attribute(text, tree, old, new)


def rename_method(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """A method, where it is defined and where the class calls it."""
    used = {node.attr for node in _self_attributes(tree)}
    methods = [node for node in ast.walk(tree) if isinstance(node, _Function) and node.name in used]
    methods = [node for node in methods if not node.name.startswith("__")]
    if not methods:
        return None
    old = rng.choice(sorted({node.name for node in methods}))
    new = f"{rng.choice(('do', 'run', 'apply'))}_{old.strip('_')}"
    if re.search(rf"\b{new}\b", text):
        return None
    offsets = LineOffsets(text)
    rewrites = []
    for node in ast.walk(tree):
        if isinstance(node, _Function) and node.name == old:
            start = text.index(old, text.index("def", offsets.span(node)[0]) + 3)
            rewrites.append(Rewrite(start, start + len(old), new))
    return f"Rename the method `{old}` to `{new}`.", _with_attribute(text, tree, old, new, rewrites)


def change_exception(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """One exception class for another, at every site."""
    sites = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id.endswith(("Error", "Exception"))]
    if not sites:
        return None
    old, new = rng.choice(sorted({node.id for node in sites})), _fresh(text, rng, _NEW_ERRORS)
    offsets = LineOffsets(text)
    rewrites = tuple(Rewrite(*offsets.span(node), new) for node in sites if node.id == old)
    return f"Use {new} instead of {old}.", apply_rewrites(text, rewrites)


def add_log(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """One new line at the start of every function."""
    rewrites, offsets = [], LineOffsets(text)
    for node in _functions(tree):
        first = _first_statement(node)
        if first is None or first.lineno == node.lineno:
            continue
        place = _line_start(text, offsets.span(first)[0])
        rewrites.append(Rewrite(place, place, f'{" " * first.col_offset}logger.debug("{node.name}")\n'))
    if not rewrites:
        return None
    return 'Begin every function with logger.debug("its name").', apply_rewrites(text, tuple(rewrites))


def drop_docstrings(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """Whole lines go."""
    rewrites, offsets = [], LineOffsets(text)
    for node in [*_functions(tree), *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))]:
        if ast.get_docstring(node) is None or len(node.body) < 2:
            continue
        start, end = offsets.span(node.body[0])
        rewrites.append(Rewrite(_line_start(text, start), text.index("\n", end) + 1, ""))
    return ("Remove the docstrings.", apply_rewrites(text, tuple(rewrites))) if rewrites else None


def add_none_hints(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """`-> None` at every function that returns nothing."""
    rewrites, offsets = [], LineOffsets(text)
    for node in _functions(tree):
        returns = [n for n in ast.walk(node) if isinstance(n, ast.Return | ast.Yield | ast.YieldFrom)]
        if node.returns is not None or any(not isinstance(n, ast.Return) or n.value is not None for n in returns):
            continue
        head = re.compile(r"\)(?=[ ]*:[ ]*(?:#.*)?\n)").search(text, offsets.span(node)[0])
        if head is not None and head.start() < offsets.span(node.body[0])[0]:
            rewrites.append(Rewrite(head.end(), head.end(), " -> None"))
    if not rewrites:
        return None
    return "Annotate every function that returns nothing with -> None.", apply_rewrites(text, tuple(rewrites))


def add_parameter(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """A keyword parameter with a default, at one function."""
    functions = [
        n for n in _functions(tree) if n.args.args and not (n.args.kwarg or n.args.kwonlyargs or n.args.vararg)
    ]
    if not functions:
        return None
    node = rng.choice(functions)
    offsets = LineOffsets(text)
    last = [*node.args.args, *node.args.defaults][-1] if node.args.defaults else node.args.args[-1]
    place = offsets.span(last)[1]
    changed = apply_rewrites(text, (Rewrite(place, place, ", strict=False"),))
    return f"Give `{node.name}` a parameter `strict` with the default False.", changed


def drop_method(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """One method goes, with the blank lines before it."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [n for node in classes for n in node.body if isinstance(n, _Function) and not n.decorator_list]
    used = {node.attr for node in _self_attributes(tree)}
    methods = [node for node in methods if node.name not in used and not node.name.startswith("__")]
    if len(methods) < 2:
        return None
    node = rng.choice(methods[1:])
    start, end = LineOffsets(text).span(node)
    start = len(text[: _line_start(text, start)].rstrip()) + 1
    return f"Remove the method `{node.name}`.", text[:start] + text[min(len(text), end + 1) :]


def double_quotes(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """`'a'` becomes `"a"` at every plain string."""
    rewrites = []
    offsets = LineOffsets(text)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            continue
        start, end = offsets.span(node)
        if re.fullmatch(r"'[^'\"\\\n{}]*'", text[start:end]):
            rewrites.append(Rewrite(start, end, f'"{text[start + 1 : end - 1]}"'))
    return ("Use double quotes for all strings.", apply_rewrites(text, tuple(rewrites))) if len(rewrites) > 2 else None


def rename_self(text: str, tree: ast.Module, rng: random.Random) -> Refactored | None:
    """A name that stands everywhere."""
    sites = [n for n in ast.walk(tree) if isinstance(n, ast.Name | ast.arg) and getattr(n, "id", None) == "self"]
    sites += [n for n in ast.walk(tree) if isinstance(n, ast.arg) and n.arg == "self"]
    if len(sites) < 4 or re.search(r"\bthis\b", text):
        return None
    offsets = LineOffsets(text)
    rewrites = tuple(Rewrite(offsets.span(node)[0], offsets.span(node)[0] + 4, "this") for node in sites)
    return "Rename self to this.", apply_rewrites(text, rewrites)


REFACTORS: dict[str, Refactor] = {
    "rename-local": rename_local,
    "rename-attribute": rename_attribute,
    "rename-method": rename_method,
    "exception": change_exception,
    "log": add_log,
    "docstrings": drop_docstrings,
    "none-hints": add_none_hints,
    "parameter": add_parameter,
    "drop-method": drop_method,
    "quotes": double_quotes,
    "rename-self": rename_self,
}


def _functions(tree: ast.AST) -> Iterator[_Function]:
    return (node for node in ast.walk(tree) if isinstance(node, _Function))


def _self_attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node


def _with_attribute(text: str, tree: ast.Module, old: str, new: str, rewrites: list[Rewrite] | None = None) -> str:
    offsets = LineOffsets(text)
    ends = [offsets.span(node)[1] for node in _self_attributes(tree) if node.attr == old]
    return apply_rewrites(text, (*(rewrites or []), *(Rewrite(end - len(old), end, new) for end in ends)))


def _first_statement(node: _Function) -> ast.stmt | None:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[0] if body else None


def _line_start(text: str, offset: int) -> int:
    return text.rfind("\n", 0, offset) + 1


def _fresh(text: str, rng: random.Random, names: tuple[str, ...]) -> str:
    return rng.choice([name for name in names if not re.search(rf"\b{name}\b", text)] or [f"{names[0]}_2"])
