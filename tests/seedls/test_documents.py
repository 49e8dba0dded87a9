from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types

from seedls.documents import DocumentStore, apply_change
from seedls.positions import Encoding, LineText
from tests.seedls.texts import encodings, naive_lines, naive_offset, texts

URI = "file:///w/a%20b.py"
spans = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))


def _open(store: DocumentStore, text: str, version: int = 1) -> None:
    store.open(types.TextDocumentItem(URI, "python", version, text))


def _partial(span: tuple[int, int, int, int], text: str) -> types.TextDocumentContentChangePartial:
    start, end = types.Position(*span[:2]), types.Position(*span[2:])
    return types.TextDocumentContentChangePartial(types.Range(start, end), text)


@settings(max_examples=300)
@given(texts, st.lists(st.tuples(spans, texts), max_size=6), encodings)
def test_incremental_sync_gives_what_a_naive_editor_has(
    text: str, changes: list[tuple[tuple[int, int, int, int], str]], encoding: Encoding
) -> None:
    content = LineText.from_text(text)
    for span, new_text in changes:
        first = naive_offset(text, span[0], span[1], encoding)
        second = naive_offset(text, span[2], span[3], encoding)
        start, end = min(first, second), max(first, second)
        text = text[:start] + new_text + text[end:]
        content = apply_change(content, _partial(span, new_text), encoding)
        assert content.text == text
        lines = naive_lines(text)
        assert list(content.lines) == lines
        for line_idx in (len(lines) - 1, len(lines) // 2, 0):
            assert content.start_of(line_idx) == sum(map(len, lines[:line_idx]))


@given(texts, st.lists(st.tuples(spans, texts), max_size=6))
def test_a_text_of_lines_only_gives_the_same(text: str, changes: list[tuple[tuple[int, int, int, int], str]]) -> None:
    """What a text carries along (joined text, starts of lines) is never needed to be right."""
    carrying, bare = LineText.from_text(text), LineText.from_text(text)
    for span, new_text in changes:
        carrying = apply_change(carrying, _partial(span, new_text), "utf-16")
        bare = apply_change(LineText(bare.lines), _partial(span, new_text), "utf-16")
    assert (carrying.lines, carrying.text) == (bare.lines, bare.text)
    assert carrying.line_starts == bare.line_starts


def test_typing_counts_the_lines_above_once_and_joins_none() -> None:
    counted = 0

    class CountedLine(str):
        __slots__ = ()

        def __len__(self) -> int:
            nonlocal counted
            counted += 1
            return super().__len__()

    plain = LineText.from_text("value = 1\n" * 10_000)
    content = LineText(tuple(map(CountedLine, plain.lines)), plain.text)
    for column in range(20):
        content = apply_change(content, _partial((5000, column, 5000, column), "x"), "utf-16")
        assert content._text is not None
        assert content.text[content.start_of(5000) :].startswith("x" * (column + 1))
    assert 0 < counted < 6000


def test_a_whole_document_change_replaces_everything() -> None:
    store = DocumentStore()
    _open(store, "old\f\nlines\n")
    snapshot = store.change(URI, 2, [types.TextDocumentContentChangeWholeDocument("new")])
    assert snapshot is not None
    assert (snapshot.text, snapshot.version) == ("new", 2)


def test_several_changes_in_one_message_apply_in_order() -> None:
    store = DocumentStore()
    _open(store, "abc\n")
    snapshot = store.change(URI, 5, [_partial((0, 0, 0, 1), "X\n"), _partial((1, 0, 1, 1), "Y")])
    assert snapshot is not None
    assert snapshot.text == "X\nYc\n"


def test_a_snapshot_does_not_change_when_the_document_does() -> None:
    store = DocumentStore()
    _open(store, "one\n")
    before = store.get(URI)
    store.change(URI, 2, [_partial((0, 3, 0, 3), "!")])
    assert before is not None
    assert before.text == "one\n"


def test_versions_may_jump_and_a_few_earlier_ones_are_kept() -> None:
    store = DocumentStore(history=2)
    _open(store, "v0", version=0)
    for version in (7, 8, 30):
        store.change(URI, version, [types.TextDocumentContentChangeWholeDocument(f"v{version}")])
    assert [store.at_version(URI, version) is not None for version in (0, 7, 8, 30)] == [False, True, True, True]
    assert store.earlier_texts(URI) == ["v8", "v7"]


def test_unknown_documents_are_harmless() -> None:
    store = DocumentStore()
    assert store.change(URI, 1, []) is None
    assert store.get(URI) is None
    assert store.at_version(URI, 1) is None
    assert store.earlier_texts(URI) == []
    store.close(URI)


def test_opening_again_starts_over() -> None:
    store = DocumentStore()
    _open(store, "a")
    store.change(URI, 2, [types.TextDocumentContentChangeWholeDocument("b")])
    _open(store, "c", version=1)
    assert store.earlier_texts(URI) == []
    assert len(store) == 1


def test_the_path_is_decoded() -> None:
    store = DocumentStore()
    _open(store, "")
    snapshot = store.get(URI)
    assert snapshot is not None
    assert snapshot.path == "/w/a b.py"


def test_typing_in_a_file_of_50_000_lines_is_fast() -> None:
    store = DocumentStore()
    _open(store, "value = compute(a, b)\r\n" * 50_000)
    started = time.perf_counter()
    for number in range(50):
        store.change(URI, number + 2, [_partial((25_000, number, 25_000, number), "x")])
    each = (time.perf_counter() - started) / 50
    snapshot = store.get(URI)
    assert snapshot is not None
    assert snapshot.content.lines[25_000].startswith("x" * 50)
    assert each < 0.02  # pygls' own workspace takes 0.025 s here on a fast machine; this takes about 0.001
