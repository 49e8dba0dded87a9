from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsprotocol import types

from seedls.documents import DocumentSnapshot, apply_change
from seedls.positions import Encoding, LineText
from seedls.text_edits import (
    EditAbilities,
    Replacement,
    apply_replacements,
    minimal_replacements,
    rebase,
    single_replacement,
    to_workspace_edit,
)
from tests.seedls.texts import encodings, texts

ALL = EditAbilities(document_changes=True, change_annotations=True)
edits = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8), texts), max_size=4)


def _edited(text: str, changes: list[tuple[int, int, str]]) -> str:
    for start, length, new in changes:
        text = text[:start] + new + text[start + length :]
    return text


@settings(max_examples=400)
@given(texts, edits)
def test_minimal_replacements_give_the_new_text_and_never_overlap(
    old: str, changes: list[tuple[int, int, str]]
) -> None:
    new = _edited(old, changes)
    hunks = minimal_replacements(old, new)
    assert apply_replacements(old, hunks) == new
    for earlier, later in pairwise(hunks):
        assert earlier.end < later.start
    for hunk in hunks:
        assert 0 <= hunk.start <= hunk.end <= len(old)
        assert (hunk.start, hunk.end, hunk.new_text) != (hunk.start, hunk.start, "")
        for boundary in (hunk.start, hunk.end):
            assert old[max(0, boundary - 1) : boundary + 1] != "\r\n"


@settings(max_examples=200)
@given(texts, texts, encodings)
def test_an_editor_that_applies_the_edits_has_the_new_text(old: str, new: str, encoding: Encoding) -> None:
    snapshot = DocumentSnapshot("file:///a", 3, LineText.from_text(old), "", encoding)
    edit = to_workspace_edit(snapshot, minimal_replacements(old, new), "label", EditAbilities(), False)
    assert edit.changes is not None
    content = snapshot.content
    for change in reversed(edit.changes["file:///a"]):  # from the end, so that earlier positions stay valid
        partial = types.TextDocumentContentChangePartial(change.range, change.new_text)
        content = apply_change(content, partial, encoding)
    assert content.text == new


@given(texts)
def test_equal_texts_need_no_edit(text: str) -> None:
    assert minimal_replacements(text, text) == []
    assert single_replacement(text, text) is None


def test_hunks_are_as_small_as_they_should_be() -> None:
    old = "def f(a):\n    x = 1\n    return a\n"
    new = "def f(a: int):\n    x = 1\n    return a + x\n"
    assert minimal_replacements(old, new) == [Replacement(7, 7, ": int"), Replacement(32, 32, " + x")]


def test_only_line_endings_that_differ_are_touched() -> None:
    hunks = minimal_replacements("a\r\nb\r\nc\r\n", "a\r\nB\r\nc\r\n")
    assert hunks == [Replacement(3, 4, "B")]


@settings(max_examples=200)
@given(texts, texts, edits)
def test_rebased_edits_keep_both_changes_or_are_dropped(
    base: str, new: str, changes: list[tuple[int, int, str]]
) -> None:
    current = _edited(base, changes)
    hunks = minimal_replacements(base, new)
    moved = rebase(hunks, base, current)
    if moved is None:
        return
    typed = single_replacement(base, current)
    if typed is None:
        assert moved == hunks
        return
    # Applying both to the base at once gives the same as typing first and then the moved edits.
    both = sorted([*hunks, typed], key=lambda hunk: (hunk.start, hunk.end))
    assert apply_replacements(current, moved) == apply_replacements(base, both)


def test_an_edit_that_later_typing_touches_is_dropped() -> None:
    hunks = [Replacement(4, 7, "XYZ")]
    assert rebase(hunks, "abc def ghi", "abc d!ef ghi") is None
    assert rebase(hunks, "abc def ghi", "__abc def ghi") == [Replacement(6, 9, "XYZ")]
    assert rebase(hunks, "abc def ghi", "abc def ghi!") == hunks


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_the_richest_form_is_versioned_and_annotated(encoding: Encoding) -> None:
    old, new = "😀 a\nb\nc\n", "😀 A\nb\nC\n"
    snapshot = DocumentSnapshot("file:///a", 3, LineText.from_text(old), "", encoding)
    edit = to_workspace_edit(snapshot, minimal_replacements(old, new), "Simplify", ALL, True)
    assert edit.changes is None
    assert edit.document_changes is not None
    document = edit.document_changes[0]
    assert isinstance(document, types.TextDocumentEdit)
    assert document.text_document == types.OptionalVersionedTextDocumentIdentifier("file:///a", 3)
    first = document.edits[0]
    assert isinstance(first, types.AnnotatedTextEdit)
    width = {"utf-8": 4, "utf-16": 2, "utf-32": 1}[encoding]
    assert first.range == types.Range(types.Position(0, width + 1), types.Position(0, width + 2))
    assert edit.change_annotations is not None
    assert [(one.label, one.needs_confirmation) for one in edit.change_annotations.values()] == [
        ("Simplify (1 of 2)", True),
        ("Simplify (2 of 2)", True),
    ]
    used = {one.annotation_id for one in document.edits if isinstance(one, types.AnnotatedTextEdit)}
    assert used == set(edit.change_annotations)


def test_simpler_clients_get_simpler_edits() -> None:
    snapshot = DocumentSnapshot("file:///a", 3, LineText.from_text("a\n"))
    hunks = [Replacement(0, 1, "b")]
    plain = to_workspace_edit(snapshot, hunks, "", EditAbilities(), True)
    assert (plain.document_changes, plain.change_annotations) == (None, None)
    assert plain.changes == {"file:///a": [types.TextEdit(snapshot.range_at(0, 1), "b")]}
    versioned = to_workspace_edit(snapshot, hunks, "", EditAbilities(document_changes=True), True)
    assert (versioned.changes, versioned.change_annotations) == (None, None)


def test_a_huge_difference_becomes_one_hunk_quickly() -> None:
    old = "".join(f"line {number}\n" for number in range(6000))
    new = "".join(f"other {number}\n" for number in range(6000))
    hunks = minimal_replacements(old, new)
    assert len(hunks) == 1
    assert apply_replacements(old, hunks) == new
