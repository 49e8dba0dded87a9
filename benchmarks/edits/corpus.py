"""The cases: refactorings of the standard library's own functions and classes, 20 to 400 lines, made when asked for.

The same Python version gives the same cases; nothing of the library is copied into this repository.
"""

from __future__ import annotations

import ast
import functools
import random
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.edits.transformations import REFACTORS

MIN_LINES, MAX_LINES = 20, 400
_ABOVE, _BELOW = "# -*- before -*-\n\n\n", "\n\n# -*- after -*-\n"
# Lower bounds of the sizes that are filled evenly.
_SIZES = (20, 40, 80, 160)

# fmt: off
_MODULES = (
    "argparse", "base64", "calendar", "cmd", "codecs", "codeop", "configparser", "contextlib", "copy", "csv",
    "dataclasses", "difflib", "dis", "doctest", "filecmp", "fileinput", "fractions", "ftplib", "functools",
    "gettext", "glob", "gzip", "heapq", "html/parser", "http/client", "http/cookies", "imaplib", "inspect",
    "ipaddress", "json/decoder", "json/encoder", "locale", "logging/__init__", "logging/handlers", "mailbox",
    "mimetypes", "optparse", "pathlib", "pdb", "pickletools", "platform", "plistlib", "poplib", "pprint", "profile",
    "pstats", "queue", "random", "sched", "selectors", "shelve", "shlex", "shutil", "smtplib", "socketserver",
    "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap", "threading", "timeit", "tokenize",
    "trace", "traceback", "types", "unittest/case", "unittest/loader", "unittest/mock", "urllib/parse",
    "urllib/request", "urllib/robotparser", "uuid", "warnings", "wave", "weakref", "webbrowser", "xml/dom/minidom",
    "xml/sax/saxutils", "xmlrpc/client", "zipfile",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class RefactorCase:
    """One function or class, what is asked, and the text that does exactly that."""

    case_id: str
    kind: str
    instruction: str
    before: str
    after: str


def framed(code: str) -> tuple[str, int]:
    """The text of a file around the piece, which must stay, and where the piece starts in it."""
    return f"{_ABOVE}{code}{_BELOW}", len(_ABOVE)


def refactor_cases(count: int, seed: int = 0) -> list[RefactorCase]:
    """`count` cases (fewer if the library offers no more), sizes and kinds as even as it allows."""
    rng = random.Random(seed)
    pieces = list(_all_pieces())
    rng.shuffle(pieces)
    by_size = [[piece for piece in pieces if _size_class(piece[1]) == low] for low in _SIZES]
    taken: Counter[str] = Counter()
    cases: list[RefactorCase] = []
    while len(cases) < count and any(by_size):
        for group in by_size:
            case = None
            while group and case is None:
                case = _case(*group.pop(), taken, rng)
            if case is not None and len(cases) < count:
                taken[case.kind] += 1
                cases.append(case)
    return cases


def _case(name: str, text: str, taken: Counter[str], rng: random.Random) -> RefactorCase | None:
    """The rarest kind so far that applies to this piece."""
    tree = _parsed(text)
    assert tree is not None
    for kind in sorted(REFACTORS, key=lambda kind: (taken[kind], rng.random())):
        result = REFACTORS[kind](text, tree, rng)
        if result is None or result[1] == text or _parsed(result[1]) is None:
            continue
        return RefactorCase(f"{kind}:{name}", kind, result[0], text, result[1])
    return None


@functools.cache
def _all_pieces() -> tuple[tuple[str, str], ...]:
    return tuple(_pieces())


def _pieces() -> Iterator[tuple[str, str]]:
    """(name, text) of the top-level functions and classes of the right size."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    for module in _MODULES:
        path = folder / f"{module}.py"
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        tree = _parsed(text)
        lines = text.split("\n")
        for node in tree.body if tree is not None else []:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.decorator_list:
                continue
            assert node.end_lineno is not None
            if MIN_LINES <= node.end_lineno - node.lineno + 1 <= MAX_LINES:
                yield f"{module}.{node.name}", "\n".join(lines[node.lineno - 1 : node.end_lineno]) + "\n"


def _size_class(text: str) -> int:
    return max(low for low in _SIZES if low <= text.count("\n"))


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):
            return None
