"""Edit pairs from real functions, made backwards: good code is degraded, the sample asks to undo it.

Each transformation works on the source text at positions the syntax tree names, so that formatting and comments
around the change survive; every pair is parsed on both sides. Semantics are not tested: a mutated operator may by
chance be equivalent.
"""

from __future__ import annotations

import ast
import random
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from model_runtime.training.data.packages import SourceFile
from model_runtime.training.data.syntax_spans import LineOffsets

MIN_FUNCTION_CHARS = 60
MAX_FUNCTION_CHARS = 520


@dataclass(frozen=True, slots=True)
class EditPair:
    """A function before and after, and the instruction that leads from one to the other."""

    instruction: str
    before: str
    after: str
    transform: str
    language: str = "python"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Replace `text[start:end]` by `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a transformation does to good code, and how to ask for the way back (`undo`) or for the change (`redo`)."""

    rewrites: tuple[Rewrite, ...]
    undo: tuple[str, ...]
    redo: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A parsed function: dedented text, tree, offsets."""

    text: str
    node: ast.FunctionDef | ast.AsyncFunctionDef
    offsets: LineOffsets

    def source(self, node: ast.AST) -> str:
        """The text of one node."""
        start, end = self.offsets.span(node)
        return self.text[start:end]


Transform = Callable[[Function, random.Random], Change | None]


def draw_edit(source: SourceFile, rng: random.Random) -> EditPair | None:
    """An edit pair from one function of this Python file, or None when the function drawn offers none."""
    texts = function_texts(source.text)
    if not texts:
        return None
    text = rng.choice(texts)
    # A weighted order (exponential race): the first transformation that applies wins.
    order = sorted(TRANSFORM_WEIGHTS, key=lambda name: rng.expovariate(TRANSFORM_WEIGHTS[name]))
    return next((pair for name in order if (pair := make_pair(text, name, rng))), None)


def make_pair(text: str, name: str, rng: random.Random) -> EditPair | None:
    """Apply one transformation to a function's text; None where it does not apply or the result does not parse."""
    function = parse_function(text)
    change = TRANSFORMS[name](function, rng) if function else None
    if change is None:
        return None
    changed = apply_rewrites(text, change.rewrites)
    if changed == text or parse_function(changed) is None:
        return None
    if change.redo and rng.random() < 0.3:
        return EditPair(rng.choice(change.redo), text, changed, f"{name}-redo")
    return EditPair(rng.choice(change.undo), changed, text, name)


def apply_rewrites(text: str, rewrites: tuple[Rewrite, ...]) -> str:
    """Apply non-overlapping rewrites, last first so that offsets stay valid."""
    for rewrite in sorted(rewrites, key=lambda r: r.start, reverse=True):
        text = text[: rewrite.start] + rewrite.new + text[rewrite.end :]
    return text


def function_texts(text: str) -> list[str]:
    """Dedented sources of the functions of a file, within the size bounds, decorators left out."""
    tree = _parse(text)
    if tree is None:
        return []
    lines = text.splitlines(keepends=True)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            body = lines[node.lineno - 1 : node.end_lineno]
            dedented = _dedent(body, node.col_offset)
            if dedented and MIN_FUNCTION_CHARS <= len(dedented) <= MAX_FUNCTION_CHARS:
                found.append(dedented)
    return found


def parse_function(text: str) -> Function | None:
    """The single function of this text, or None when it is anything else."""
    tree = _parse(text)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    return Function(text, tree.body[0], LineOffsets(text))


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def _dedent(lines: list[str], indent: int) -> str | None:
    if any(line[:indent].strip() for line in lines):
        return None  # a string or comment reaches left of the function
    return "".join(line[indent:] if line.strip() else "\n" for line in lines)


def strip_hints(function: Function, rng: random.Random) -> Change | None:
    """Remove every parameter and return annotation."""
    arguments = function.node.args
    rewrites = []
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument is not None and argument.annotation is not None:
            start, end = function.offsets.span(argument)
            rewrites.append(Rewrite(start, end, argument.arg))
    if function.node.returns is not None:
        start, end = function.offsets.span(function.node.returns)
        arrow = function.text.rfind("->", 0, start)
        rewrites.append(Rewrite(len(function.text[:arrow].rstrip()), end, ""))
    if not rewrites:
        return None
    return Change(
        tuple(rewrites),
        undo=(
            "Add type hints.",
            "Add type annotations to this function.",
            "annotate the parameters and the return type",
        ),
        redo=("Remove the type hints.", "strip all annotations"),
    )


def strip_docstring(function: Function, rng: random.Random) -> Change | None:
    """Remove the docstring, with its line."""
    first = function.node.body[0]
    if len(function.node.body) < 2 or ast.get_docstring(function.node) is None:
        return None
    start, end = function.offsets.span(first)
    line_start = function.text.rfind("\n", 0, start) + 1
    line_end = function.text.find("\n", end) + 1
    return Change(
        (Rewrite(line_start, line_end, ""),),
        undo=("Add a docstring.", "Document this function with a docstring.", "write a docstring"),
        redo=("Remove the docstring.",),
    )


_OTHER_NAMES = ("data", "value", "tmp", "item", "result", "obj", "x", "val", "entry", "current", "arg", "info", "res")


def rename(function: Function, rng: random.Random) -> Change | None:
    """Rename one parameter or local variable everywhere in the function."""
    nodes = list(ast.walk(function.node))
    if any(isinstance(n, ast.Global | ast.Nonlocal | ast.Lambda | ast.JoinedStr) for n in nodes):
        return None
    if sum(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for n in nodes) > 1:
        return None  # an inner scope might capture the name
    names = [n for n in nodes if isinstance(n, ast.Name)]
    arguments = [n for n in nodes if isinstance(n, ast.arg) and n.arg not in ("self", "cls")]
    used = {n.id for n in names} | {a.arg for a in arguments} | {k.arg for k in nodes if isinstance(k, ast.keyword)}
    local = {n.id for n in names if isinstance(n.ctx, ast.Store)} | {a.arg for a in arguments}
    fresh = [name for name in _OTHER_NAMES if name not in used and not re.search(rf"\b{name}\b", function.text)]
    if not local or not fresh:
        return None
    old = rng.choice(sorted(local))
    new = rng.choice(fresh)
    rewrites = [Rewrite(*function.offsets.span(n), new) for n in names if n.id == old]
    for argument in (a for a in arguments if a.arg == old):
        start = function.offsets.span(argument)[0]
        rewrites.append(Rewrite(start, start + len(old), new))
    return Change(
        tuple(rewrites),
        undo=(f"Rename `{new}` to `{old}`.", f"rename {new} to {old}"),
        redo=(f"Rename `{old}` to `{new}`.", f"rename the variable {old} to {new}"),
    )


_MUTATIONS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}


def mutate(function: Function, rng: random.Random) -> Change | None:
    """Plant one bug: a wrong operator, a dropped `not`, a flipped boolean, a number off by one."""
    sites = [rewrite for node in ast.walk(function.node) for rewrite in _mutation_sites(function, node)]
    if not sites:
        return None
    return Change(
        (rng.choice(sites),), undo=("Fix the bug.", "Fix the bug in this function.", "there is a bug here, fix it")
    )


def _mutation_sites(function: Function, node: ast.AST) -> list[Rewrite]:
    offsets = function.offsets
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _operator_site(function, offsets.span(node.left)[1], offsets.span(node.comparators[0])[0], node.ops[0])
    if isinstance(node, ast.BinOp):
        return _operator_site(function, offsets.span(node.left)[1], offsets.span(node.right)[0], node.op)
    if isinstance(node, ast.BoolOp):
        return _operator_site(function, offsets.span(node.values[0])[1], offsets.span(node.values[1])[0], node.op)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [Rewrite(*offsets.span(node), function.source(node.operand))]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [Rewrite(*offsets.span(node), str(not node.value))]
    if isinstance(node, ast.Constant) and type(node.value) is int and function.source(node).isdigit():
        return [Rewrite(*offsets.span(node), str(node.value + 1))]
    return []


def _operator_site(function: Function, start: int, end: int, operator: ast.AST) -> list[Rewrite]:
    good, bad = _MUTATIONS.get(type(operator), ("", ""))
    between = function.text[start:end]
    if not good or between.strip(" ()") != good:
        return []
    where = start + between.index(good)
    return [Rewrite(where, where + len(good), bad)]


def comprehension_to_loop(function: Function, rng: random.Random) -> Change | None:
    """`name = [e for v in it if c]` becomes a loop with append."""
    for node in ast.walk(function.node):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.ListComp) and len(node.targets) == 1):
            continue
        target, generators = node.targets[0], node.value.generators
        if not isinstance(target, ast.Name) or len(generators) != 1 or generators[0].is_async:
            continue
        indent = " " * node.col_offset
        generator = generators[0]
        lines = [
            f"{target.id} = []",
            f"{indent}for {function.source(generator.target)} in {function.source(generator.iter)}:",
        ]
        depth = indent + "    "
        for condition in generator.ifs:
            lines.append(f"{depth}if {function.source(condition)}:")
            depth += "    "
        lines.append(f"{depth}{target.id}.append({function.source(node.value.elt)})")
        return Change(
            (Rewrite(*function.offsets.span(node), "\n".join(lines)),),
            undo=("Use a list comprehension.", "Replace the loop with a list comprehension."),
            redo=("Replace the list comprehension with a loop.",),
        )
    return None


def ternary_to_statement(function: Function, rng: random.Random) -> Change | None:
    """`x = a if c else b` or `return a if c else b` becomes an if statement."""
    for node in ast.walk(function.node):
        if not isinstance(node, ast.Assign | ast.Return) or not isinstance(node.value, ast.IfExp):
            continue
        start, end = function.offsets.span(node)
        head = function.text[start : function.offsets.span(node.value)[0]]
        if "\n" in head or head.rstrip().endswith("("):
            continue
        indent = " " * node.col_offset
        choice = node.value
        new = (
            f"if {function.source(choice.test)}:\n{indent}    {head}{function.source(choice.body)}\n"
            f"{indent}else:\n{indent}    {head}{function.source(choice.orelse)}"
        )
        return Change(
            (Rewrite(start, end, new),),
            undo=("Use a conditional expression.", "Simplify the if/else into a conditional expression."),
            redo=("Replace the conditional expression with an if statement.",),
        )
    return None


def f_string_to_format(function: Function, rng: random.Random) -> Change | None:
    """`f"a {b}"` becomes `"a {}".format(b)`."""
    for node in ast.walk(function.node):
        if not isinstance(node, ast.JoinedStr):
            continue
        source = function.source(node)
        fields = [value for value in node.values if isinstance(value, ast.FormattedValue)]
        plain = fields and all(
            f.format_spec is None and f.conversion == -1 and isinstance(f.value, ast.Name) for f in fields
        )
        if not plain or not re.match(r"f(\"(?!\"\")|'(?!''))", source) or "\n" in source or "{{" in source:
            continue
        names = [f.value.id for f in fields if isinstance(f.value, ast.Name)]
        new = f"{re.sub('{[^}]*}', '{}', source[1:])}.format({', '.join(names)})"
        return Change(
            (Rewrite(*function.offsets.span(node), new),),
            undo=("Use an f-string.", "Convert the format call to an f-string."),
            redo=("Use str.format instead of the f-string.",),
        )
    return None


def drop_statement(function: Function, rng: random.Random) -> Change | None:
    """Remove the guard `if ...: raise/return` at the top of a function."""
    for statement in function.node.body:
        if not isinstance(statement, ast.If) or statement.orelse or len(statement.body) != 1:
            continue
        action = statement.body[0]
        if not isinstance(action, ast.Raise | ast.Return) or statement is function.node.body[-1]:
            continue
        condition = " ".join(function.source(statement.test).split())
        verb = " ".join(function.source(action).split())
        if len(condition) + len(verb) > 90:
            continue
        start, end = function.offsets.span(statement)
        line_start, line_end = function.text.rfind("\n", 0, start) + 1, function.text.find("\n", end) + 1
        return Change(
            (Rewrite(line_start, line_end, ""),),
            undo=(f"If `{condition}`, `{verb}`.", f"Add a check: when `{condition}`, `{verb}`."),
        )
    return None


TRANSFORMS: dict[str, Transform] = {
    "hints": strip_hints,
    "docstring": strip_docstring,
    "rename": rename,
    "mutate": mutate,
    "comprehension": comprehension_to_loop,
    "ternary": ternary_to_statement,
    "f-string": f_string_to_format,
    "guard": drop_statement,
}

TRANSFORM_WEIGHTS = {
    "hints": 2.0,
    "docstring": 0.6,
    "rename": 2.0,
    "mutate": 1.5,
    "comprehension": 6.0,
    "ternary": 6.0,
    "f-string": 3.0,
    "guard": 3.0,
}
"""Who is tried first; the rare ones apply to few functions, so they come early."""
