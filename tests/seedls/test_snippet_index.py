from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from seedls.engine import Snippet
from seedls.repository_context import RepositoryContext, query_at, recent_piece, with_snippets
from seedls.snippet_index import Query, SnippetIndex, index_file, names_in
from tests.seedls.texts import texts

SHOP = '''"""The shop."""


class Order:
    """One order. 😀"""

    def __init__(self, customer, amount):
        self.customer = customer
        self.amount = amount

    def total_with_tax(self, rate):
        """Amount plus tax."""
        return self.amount * (1 + rate)


def cancel_order(order, reason):
    """Cancel it."""
    order.cancelled = reason
'''
OTHER = "def unrelated(value):\n    return value\n"


def _index(**files: str) -> SnippetIndex:
    index = SnippetIndex()
    for name, text in files.items():
        assert index.put(index_file(f"{name}.py", "python", text))
    return index


def _query(prefix: str, suffix: str = "", path: str = "main.py", language: str = "python") -> Query:
    return query_at(path, language, prefix, suffix)


def test_definitions_are_found_by_tree_and_without_a_grammar() -> None:
    file = index_file("shop.py", "python", SHOP)
    assert [one.name for one in file.definitions] == ["Order", "__init__", "total_with_tax", "cancel_order"]
    assert file.definitions[2].text.startswith("    def total_with_tax(self, rate):\n")
    lua = index_file("a.zig", "zig", "pub fn add(a: i32) i32 {\n    return a;\n}\nconst x = 1;\n")
    assert [one.name for one in lua.definitions] == ["add"]


def test_the_definition_of_an_imported_name_comes_next_to_the_file() -> None:
    index = _index(shop=SHOP, other=OTHER)
    snippets = index.snippets(_query("from shop import cancel_order\n\n\ndef main(order):\n    cancel_order("), 2000)
    assert snippets[-1].path == "shop.py"
    assert snippets[-1].text.startswith("def cancel_order(order, reason):")
    assert all(snippet.path != "other.py" for snippet in snippets)


def test_nothing_in_reach_gives_nothing() -> None:
    assert _index(shop=SHOP).snippets(_query("x = 1\ny = "), 2000) == ()


def test_the_file_itself_and_other_languages_are_left_out() -> None:
    index = _index(main=SHOP)
    assert index.snippets(_query("def main(order):\n    cancel_order("), 2000) == ()
    index.put(index_file("shop.go", "go", "func cancel_order() {\n}\n"))
    assert index.snippets(_query("def main(order):\n    cancel_order("), 2000) == ()


def test_similar_lines_of_another_file_are_found() -> None:
    body = "    reader = open_archive(source)\n    manifest = reader.read_manifest()\n    check_digest(manifest)\n"
    index = _index(loader=f"def load(source):\n{body}", **{f"noise{n}": f"noise_{n} = {n}\n" for n in range(30)})
    near = "def verify(source):\n    reader = open_archive(source)\n    manifest = reader."
    (snippet,) = index.snippets(_query(near), 2000)
    assert snippet.path == "loader.py"
    assert "check_digest(manifest)" in snippet.text


def test_a_file_read_again_replaces_what_it_said_before() -> None:
    index = _index(shop=SHOP)
    index.put(index_file("shop.py", "python", OTHER))
    query = _query("from shop import cancel_order\ncancel_order(")
    assert index.snippets(query, 2000) == ()
    index.put(index_file("shop.py", "python", SHOP))
    assert index.snippets(query, 2000)
    index.remove("shop.py")
    index.remove("shop.py")
    assert index.snippets(query, 2000) == ()
    assert len(index) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), texts), max_size=6), texts, st.integers(0, 300))
def test_any_texts_stay_within_the_budget(files: list[tuple[str, str]], prefix: str, budget: int) -> None:
    index = SnippetIndex()
    for name, text in files:
        index.put(index_file(f"{name}.py", "python", text + SHOP))
    recent = [Snippet("d.py", "cancel_order = 1")]
    snippets = index.snippets(_query(prefix + "\ncancel_order("), budget, recent)
    assert sum(len(one.text) + len(one.path) for one in snippets) <= budget
    assert all(one.text.strip() for one in snippets)


def test_recently_changed_lines_of_another_document_are_offered() -> None:
    lines = [f"line_{number}\r\n" for number in range(100)]
    piece = recent_piece("b.py", lines, 50, 50)
    assert piece is not None
    assert "line_50\nline_51\n" in piece.text
    assert recent_piece("b.py", ["\n"], 0, 0) is None
    assert _index().snippets(_query("x = "), 500, [piece]) == (piece,)
    assert _index().snippets(_query("x = ", path="b.py"), 500, [piece]) == ()


def test_a_choice_is_kept_while_the_user_works_in_one_place() -> None:
    index, context = _index(shop=SHOP), RepositoryContext()
    imported = "from shop import cancel_order\n\n"
    first = context.snippets(index, _query(imported + "cancel_order("), 2, 1000)
    assert first
    index.remove("shop.py")
    assert context.snippets(index, _query(imported + "cancel_order(order)\nx = "), 3, 1000) is first
    assert context.snippets(index, _query(imported + "x = "), 60, 1000) == ()
    assert context.snippets(index, _query(imported + "x = "), 60, 0) == ()


def test_snippets_stand_before_the_file_as_comments() -> None:
    snippets = [Snippet("a.py", "def f():\n\n    pass"), Snippet("b.py", "x = 1")]
    assert with_snippets("y = ", snippets, "python") == "# a.py\n# def f():\n#\n#     pass\n# b.py\n# x = 1\n\ny = "
    assert with_snippets("y = ", snippets[1:], "go") == "// b.py\n// x = 1\n\ny = "
    assert with_snippets("y = ", (), "python") == "y = "


def test_names() -> None:
    assert names_in("def f(order_id): return order_id + ab # 漢字x") == {"order_id", "漢字x"} - {"漢字x"}
