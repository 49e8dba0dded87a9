"""What an edit of `seedls refactor` must pass, and the units it is made of."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedls.edit_checks import (
    Edit,
    Scope,
    reason_not_to_offer,
    reason_to_refuse,
    scope_of,
    with_missing_imports,
)
from seedls.python_facts import (
    code_without_docstrings,
    defined_names,
    parse_module,
    signatures,
    unknown_names,
)
from seedls.refactoring.units import units_of
from seedls.syntax import SyntaxTree, parse
from tests.seedls.texts import texts

OLD = '''import os
from typing import Any

LIMIT = 3


def first(items):
    """The first one."""
    return items[0]


class Box:
    def open(self):
        return self.lid

    def close(self):
        return os.sep
'''


def tree_of(text: str, language: str = "python") -> SyntaxTree:
    tree = parse(language, text)
    assert tree is not None
    return tree


def refusal(before: str, after: str, instruction: str = "improve this", scope: Scope = "all") -> str | None:
    """The reason to refuse putting `after` where `before` stands in OLD."""
    start = OLD.index(before)
    new = OLD.replace(before, after, 1)
    return reason_to_refuse(Edit(tree_of(OLD), new, start, start + len(before), instruction, scope))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("return items[0]", "return items[-1]", None),
        ("def first(items):", "def first(items: Any) -> Any:", None),
        ("return items[0]", "return [len(item) for item in items if (n := item)] and __name__", None),
        ("return items[0]", "return items[0", "it would add a syntax error"),
        ("return items[0]", "return items[0]\n  return 1", "it would no longer compile"),
        ("return items[0]", "await items", "it would no longer compile"),
        ("return items[0]", "return Optionals[items]", "it uses 'Optionals', which the file does not define"),
        ("return items[0]", "return zeta(alpha)", "it uses 'alpha', 'zeta', which the file does not define"),
        ("import os\n", "import io\n", "it uses 'os', which the file does not define"),
        ("return items[0]", "from os import *", "it would no longer compile"),
        ("def first(items):", "def second(items):", "it removes 'first', which other code may use"),
        ("def close(self)", "def shut(self)", "it removes 'Box.close', which other code may use"),
        ("LIMIT = 3\n", "LIMITS = 3\n", "it removes 'LIMIT', which other code may use"),
        ("    def close(self):\n        return os.sep\n", "\n", "it would delete the unit"),
        ("return items[0]", "return items[0]\n" + "    x = 1\n" * 60, "it grew from 1 to 61 lines"),
    ],
)
def test_each_check(before: str, after: str, reason: str | None) -> None:
    assert refusal(before, after) == reason


@pytest.mark.parametrize(
    ("instruction", "new", "is_shown"),
    [
        ("Raise InvalidIndexError when it is empty.", "return InvalidIndexError(items)", True),
        ("Use default_value when it is empty.", "return items or default_value", True),
        ("Call `log` first.", "return log(items)", True),
        ("Call `log.debug(items)` first.", "return log.debug(items)", True),
        ("Use _items.", "return _items[0]", True),
        ("Add a log line.", "return log(items)", False),
        ("Use a default value when it is empty.", "return items or default_value", False),
        ("Return the First item.", "return First", False),
        ("Use HTTP.", "return HTTP", False),
        ("", "return items[0] + missing_name", False),
    ],
)
def test_a_name_that_the_user_asked_for_may_be_new_where_the_user_looks(
    instruction: str, new: str, is_shown: bool
) -> None:
    start = OLD.index("return items[0]")
    edit = Edit(tree_of(OLD), OLD.replace("return items[0]", new, 1), start, start + 15, instruction, "all")
    assert (reason_not_to_offer(edit) is None) == is_shown
    assert reason_to_refuse(edit) is not None, "nobody looks at a refactoring of a whole codebase"


@pytest.mark.parametrize(
    ("old", "new", "is_kept"),
    [
        ("def f(a, b=1): ...", "def f(a: int, b: int = 1) -> None: ...", True),
        ("def f(a): ...", "def f(a, b=1, *c, d=2, **e): ...", True),
        ("def f(a): ...", "def f(a=1): ...", True),
        ("def f(*, a): ...", "def f(a): ...", True),
        ("def f(a, *, b=1): ...", "def f(a, *, c=2, b=1): ...", True),
        ("def f(a): ...", "def f(b): ...", False),
        ("def f(a, b): ...", "def f(b, a): ...", False),
        ("def f(a, b=1): ...", "def f(a, b): ...", False),
        ("def f(a): ...", "def f(a, b): ...", False),
        ("def f(a): ...", "def f(a, *, b): ...", False),
        ("def f(a): ...", "def f(): ...", False),
        ("def f(*a): ...", "def f(): ...", False),
        ("def f(**a): ...", "def f(): ...", False),
        ("def f(*, a=1): ...", "def f(*, a): ...", False),
        ("def f(*, a=1): ...", "def f(): ...", False),
        ("def f(a): ...", "async def f(a): ...", False),
        ("class A:\n    @property\n    def f(self): ...", "class A:\n    def f(self): ...", False),
        ("def f():\n    def g(a): ...", "def f():\n    def g(b): ...", True),
    ],
)
def test_callers_elsewhere_still_fit(old: str, new: str, is_kept: bool) -> None:
    name = "'A.f'" if "class" in old else "'f'"
    expected = None if is_kept else f"it changes how {name} can be called"
    assert reason_to_refuse(Edit(tree_of(old), new, 0, len(old), "improve this", "all")) == expected
    assert reason_to_refuse(Edit(tree_of(old), new, 0, len(old), "change the signature", "all")) is None


def test_an_instruction_that_names_a_definition_may_take_it_away() -> None:
    assert refusal("def first(items):", "def head(items):", "rename first to head") is None


def test_text_outside_the_unit_is_refused() -> None:
    start = OLD.index("class Box")
    edit = Edit(tree_of(OLD), "# hello\n" + OLD, start, len(OLD), "improve this", "all")
    assert reason_to_refuse(edit) == "it touched code outside the unit"
    assert reason_to_refuse(Edit(tree_of(OLD), OLD[:5], start, start + 4, "x", "all")) is not None


def test_shrinking_a_long_unit_to_almost_nothing_is_refused() -> None:
    old = "def f():\n" + "".join(f"    x{number} = {number}\n" for number in range(20))
    assert reason_to_refuse(Edit(tree_of(old), "def f(): pass\n", 0, len(old), "simplify", "all")) == (
        "it shrank from 21 to 1 lines"
    )


def test_unknown_names_that_were_there_before_do_not_count() -> None:
    old = "def f():\n    return missing\n"
    tree = tree_of(old)
    assert reason_to_refuse(Edit(tree, old.replace("return", "yield"), 0, len(old), "x", "all")) is None
    assert reason_to_refuse(Edit(tree, old.replace("missing", "missing + gone"), 0, len(old), "x", "all")) is not None


def test_code_that_did_not_compile_may_stay_so() -> None:
    old = "def f():\n    return 1 +\n"
    assert reason_to_refuse(Edit(tree_of(old), old.replace("1", "2"), 0, len(old), "x", "all")) is None


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        ("def first(items):\n", "def first(items):  # of a list\n", True),
        ('"""The first one."""', '"""The first of a non-empty list 👋."""', True),
        ("    def open(self):\n", '    def open(self):\n        """Lift the lid."""\n', True),
        ("return items[0]", "return (items[0])", True),
        ("return items[0]", "return items[1]", False),
        ("def first(items):", "def first(items, key=None):", False),
        ("return self.lid", "'not a docstring'\n        return self.lid", True),
        ("return self.lid", "print(self)\n        return self.lid", False),
    ],
)
def test_comments_only_leaves_the_code(before: str, after: str, is_kept: bool) -> None:
    reason = refusal(before, after, "add docstrings", scope="comments")
    assert reason == (None if is_kept else "it changes code, not only docstrings and comments")


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("Add a short docstring to every function", "comments"),
        ("translate the comments to English", "comments"),
        ("add docstrings and type hints", "annotations"),
        ("Add type hints to every parameter. Change nothing else.", "annotations"),
        ("rename x to y in code and comments", "all"),
        ("replace type hints by comments", "all"),
        ("simplify", "all"),
    ],
)
def test_what_an_instruction_is_about(instruction: str, expected: Scope) -> None:
    assert scope_of(instruction) == expected


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        ("def first(items):", "def first(items: list[Any], *, key: int = 1) -> Any:", False),
        ("def first(items):", "def first(items: list[Any]) -> Any:", True),
        ("return items[0]", "one: Any = items[0]\n    return one", False),
        ("LIMIT = 3", "LIMIT: int = 3", True),
        ("LIMIT = 3", "LIMIT: int = 4", False),
        ("import os\n", "import os\nfrom collections.abc import Iterator\n", True),
        ("import os\n", "import os\nimport sys\n", False),
        ("    def open(self):", "    lid = 1\n    def open(self):", False),
    ],
)
def test_type_hints_leave_the_code(before: str, after: str, is_kept: bool) -> None:
    reason = refusal(before, after, "add type hints", scope="annotations")
    assert reason == (None if is_kept else "it changes code, not only type hints and comments")


def test_an_annotation_that_makes_a_field_counts() -> None:
    old = "class A:\n    x = 1\n    y: int = 2\n    def f(self):\n        z = 1\n"
    tree = tree_of(old)
    for before, after, is_kept in [("x =", "x: int =", False), ("int", "str", True), ("z =", "z: int =", True)]:
        edit = Edit(tree, old.replace(before, after), 0, len(old), "add type hints", "annotations")
        assert (reason_to_refuse(edit) is None) is is_kept, after


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("import os\n\n\n", "import os\nfrom collections.abc import Iterator\nfrom typing import Any, Optional\n\n\n"),
        ('"""Doc."""\n', '"""Doc."""\n\nfrom collections.abc import Iterator\nfrom typing import Any, Optional\n'),
        ("#!/bin/x\n", "#!/bin/x\nfrom collections.abc import Iterator\nfrom typing import Any, Optional\n\n\n"),
        (
            '"""Doc."""\nfrom __future__ import annotations\nx = 1\nimport os\n',
            '"""Doc."""\nfrom __future__ import annotations\nfrom collections.abc import Iterator\n'
            "from typing import Any, Optional\nx = 1\nimport os\n",
        ),
        (
            "from typing import Any, Optional\n",
            "from typing import Any, Optional\nfrom collections.abc import Iterator\n",
        ),
        ("from typing import *\n", "from typing import *\n"),
    ],
)
def test_missing_typing_names_are_imported(head: str, expected: str) -> None:
    old = f"{head}@print\ndef f(a):\n    return a\n"
    new = old.replace("(a):", "(a: Iterator[Any]) -> Optional[int]:")
    edit = Edit(tree_of(old), new, len(head), len(old), "add type hints", "annotations")
    assert reason_to_refuse(edit) is None
    assert with_missing_imports(edit) == new.replace(head, expected, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\nprint(x)\n", set()),
        ("print(y)\n", {"y"}),
        ("def f(a, *b, c=1, **d):\n    return a, b, c, d, e\n", {"e"}),
        ("def f():\n    global g\n    g = 1\nprint(g)\n", set()),
        ("class A:\n    x = 1\n    def m(self):\n        return x\n", {"x"}),
        ("class A:\n    x = 1\n    y = x\n", set()),
        ("[i for i in range(3)]\nprint(i)\n", {"i"}),
        ("try:\n    pass\nexcept Exception as error:\n    print(error)\n", set()),
        ("import a.b as c, d.e\nfrom f import g as h\nc, d, h, g\n", {"g"}),
        ("def f():\n    def inner():\n        return x\n    x = 1\n", set()),
        ("match 1:\n    case [a, *b]:\n        print(a, b, c)\n", {"c"}),
        ("def f(a: Undefined) -> None: ...\n", {"Undefined"}),
        ("from __future__ import (\n  annotations,  # é\n)\ndef f(a: Undefined) -> int: ...\n", {"Undefined"}),
        ("'''one\ntwo'''; from __future__ import annotations\nprint(x)\n", {"x"}),
        ("from __future__ import annotations; import a\na\nb: c = 1\n", {"c"}),
        ("", set()),
    ],
)
def test_unknown_names(text: str, expected: set[str]) -> None:
    assert unknown_names(text) == expected


def test_what_cannot_be_known_is_not_guessed() -> None:
    assert unknown_names("from os import *\nprint(sep)\n") is None
    assert unknown_names("def f(:\n") is None
    assert defined_names("def f(:\n") is None
    assert code_without_docstrings("def f(:\n") is None


def test_definitions_under_conditions_count() -> None:
    text = "if 1:\n    def a(): ...\nelse:\n    class B:\n        def c(self): ...\n"
    text += "try:\n    d: int = 1\nexcept ValueError:\n    e = f = 2\n"
    assert defined_names(text) == {"a", "B", "B.c", "d", "e", "f"}


def test_code_tokens_see_code_and_not_comments() -> None:
    tokens = list(tree_of("def f():\n    return 1  # why\n").code_tokens())
    assert tokens == list(tree_of("# what\ndef f():\n\n    return  1\n").code_tokens())
    assert tokens != list(tree_of("def f():\n    return\n    1\n").code_tokens())
    assert tokens != list(tree_of("def f():\n    return 2\n").code_tokens())
    assert list(tree_of("# only\n").code_tokens()) == list(tree_of("").code_tokens())


@given(texts)
def test_no_text_breaks_the_facts(text: str) -> None:
    facts = unknown_names(text), defined_names(text), signatures(text), code_without_docstrings(text)
    compiles = parse_module(text) is not None
    assert [fact is not None for fact in facts[1:]] == [compiles] * 3


def test_units_are_functions_and_classes_that_fit() -> None:
    units = units_of(tree_of(OLD), 80)
    assert [(unit.name, unit.num_lines) for unit in units.fitting] == [("first", 3), ("Box", 6)]
    assert not units.too_long
    small = units_of(tree_of(OLD), 3)
    assert [unit.name for unit in small.fitting] == ["first", "Box.open", "Box.close"]
    tiny = units_of(tree_of(OLD), 1)
    assert [unit.name for unit in tiny.too_long] == ["first", "Box.open", "Box.close"]


def test_units_take_whole_lines_with_decorators() -> None:
    text = "class A:\n    @property\n    @other\n    def x(self):\n        return 1  # why\n\ndef b(): pass; c = 2\n"
    units = units_of(tree_of(text), 4).fitting
    assert [text[unit.start : unit.end] for unit in units] == [
        "    @property\n    @other\n    def x(self):\n        return 1  # why",
        "def b(): pass; c = 2",
    ]


def test_a_file_without_definitions_is_one_unit() -> None:
    units = units_of(tree_of("x = 1\ny = 2\n\n"), 2).fitting
    assert [(unit.name, unit.start, unit.end) for unit in units] == [("(whole file)", 0, 11)]
    assert units_of(tree_of("\n\n"), 5).fitting == ()
    assert [unit.num_lines for unit in units_of(tree_of("x = 1\ny = 2\n"), 1).too_long] == [2]


@given(texts, st.integers(1, 5))
def test_units_never_overlap(text: str, max_lines: int) -> None:
    source = f"def a():\n    return '''{text}'''\nclass B:\n\tdef c(self): pass\n{text}\n"
    units = sorted((*units_of(tree_of(source), max_lines).fitting, *units_of(tree_of(source), max_lines).too_long),
                   key=lambda unit: unit.start)  # fmt: skip
    assert all(0 <= unit.start < unit.end <= len(source) for unit in units)
    assert all(first.end <= second.start for first, second in pairwise(units))
