from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings

from seedls.new_tests import module_of, place_of_tests, whole_tests
from seedls.syntax import parse
from tests.seedls.texts import texts

HEAD = "import pytest\n\nfrom shop import add\n\n\ndef test_add"


@pytest.mark.parametrize(
    ("shown", "module"),
    [("shop.py", "shop"), ("src/shop/cart.py", "shop.cart"), ("shop/__init__.py", "shop"), ("src.py", "src")],
)
def test_how_a_file_is_imported(shown: str, module: str) -> None:
    assert module_of(shown) == module


def test_where_the_tests_go(tmp_path: Path) -> None:
    path = tmp_path / "src" / "shop.py"
    path.parent.mkdir()
    assert place_of_tests(path, [str(tmp_path)]) == tmp_path / "src" / "test_shop.py"
    (tmp_path / "tests").mkdir()
    assert place_of_tests(path, [str(tmp_path)]) == tmp_path / "tests" / "test_shop.py"
    (tmp_path / "tests" / "test_shop.py").touch()
    assert place_of_tests(path, [str(tmp_path)]) == tmp_path / "tests" / "test_shop_2.py"
    assert place_of_tests(path, []) == tmp_path / "src" / "test_shop.py"


def test_only_whole_tests_that_check_something_are_kept() -> None:
    good = "():\n    assert add(1, 2) == 3\n"
    assert whole_tests(HEAD, good) == "from shop import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    assert whole_tests(HEAD, good + "\n\ndef test_more():\n    assert add(") == whole_tests(HEAD, good)
    raises = "():\n    with pytest.raises(TypeError):\n        add()\n"
    assert whole_tests(HEAD, raises) == HEAD + raises
    assert whole_tests(HEAD, "():\n    add(1, 2)\n") is None
    assert whole_tests(HEAD, "(") is None
    assert whole_tests(HEAD, "") is None


@settings(deadline=None)
@given(texts)
def test_any_answer_gives_code_that_parses_or_nothing(answer: str) -> None:
    text = whole_tests(HEAD, answer)
    if text is not None:
        tree = parse("python", text)
        assert tree is not None
        assert tree.count_errors() == 0
