from __future__ import annotations

import pytest
from hypothesis import given
from lsprotocol import types

from seedls.session import ClientAbilities, Session, ShownCompletion
from seedls.text_edits import EditAbilities
from tests.seedls.texts import texts
from tests.support.fake_engine import FakeEngine, Script
from tests.support.lsp_client import capabilities_of


def _session() -> Session:
    return Session(lambda settings: FakeEngine(Script()))


def test_what_three_editors_can_do() -> None:
    vscode, neovim, emacs = (ClientAbilities.of(capabilities_of(name)) for name in ("vscode", "neovim", "emacs"))
    assert vscode.edit == EditAbilities(document_changes=True, change_annotations=True)
    assert neovim.edit == EditAbilities(document_changes=True, change_annotations=True)
    older = ClientAbilities.of(capabilities_of("neovim-0.11"))
    assert older.edit == EditAbilities(document_changes=True)
    assert (older.inline_completion, older.shows_disabled, older.creates_files) == (False, False, True)
    assert emacs.edit == EditAbilities(document_changes=True)
    assert (vscode.resolves_edit, neovim.resolves_edit, emacs.resolves_edit) == (True, True, False)
    assert (vscode.registers_configuration, neovim.registers_configuration) == (True, False)


def test_a_client_that_announces_nothing_can_do_nothing() -> None:
    assert ClientAbilities.of(types.ClientCapabilities()) == ClientAbilities()


def test_later_option_layers_win_and_can_be_replaced() -> None:
    session = _session()
    assert session.set_options("initialize", {"model": "a", "completion": {"mode": "subtle"}}) == []
    assert session.set_options("configuration", {"model": "b"}) == []
    assert (session.settings.model, session.settings.completion_mode) == ("b", "subtle")
    session.set_options("configuration", {})
    assert session.settings.model == "a"
    assert session.set_options("configuration", ["not", "a", "table"]) == []


@pytest.mark.parametrize(
    ("before", "after", "rest"),
    [
        ("x = ", "\n", "foo(1)"),
        ("x = fo", "\n", "o(1)"),
        ("x = foo(1)", "\n", None),
        ("x = bar", "\n", None),
        ("x = fo", "changed\n", None),
        ("x =", "\n", None),
    ],
)
def test_typing_into_what_is_shown(before: str, after: str, rest: str | None) -> None:
    shown = ShownCompletion("x = ", "\n", "foo(1)", "id")
    assert shown.rest_after_typing(before, after) == rest


@pytest.mark.parametrize(
    ("uri", "relative"),
    [
        ("file:///home/me/w/src/a%20b.py", "src/a b.py"),
        ("file:///elsewhere/c.py", "c.py"),
        ("file:///home/me/wide/d.py", "d.py"),
        ("untitled:Untitled-1", "Untitled-1"),
    ],
)
def test_the_model_sees_no_path_outside_the_workspace(uri: str, relative: str) -> None:
    session = _session()
    session.roots = ["/home/me/w"]
    assert session.relative_path(uri) == relative


@pytest.mark.parametrize(
    ("path", "excluded"),
    [("/w/.env", True), ("/w/.env.local", True), ("/w/deep/key.pem", True), ("/w/a.py", False), ("/w/env.py", False)],
)
def test_secrets_are_excluded_by_default(path: str, excluded: bool) -> None:
    assert _session().is_excluded(f"file://{path}") is excluded


@pytest.mark.parametrize(
    ("typed", "draft"),
    [
        ("", "max(words, key=len)"),
        ("max(", "words, key=len)"),
        ("min(", "words, key=len)"),  # behind the bracket that both have
        ("sorted(words, ", "key=len)"),
        ("other", "(words, key=len)"),
        ("max(words, key=len) + 1", ""),
    ],
)
def test_the_draft_after_a_deviation(typed: str, draft: str) -> None:
    shown = ShownCompletion("x = ", "\n", "max(words, key=len)", "id")
    assert shown.draft_for("x = " + typed, "\n") == draft
    assert shown.draft_for("x = " + typed, ")\n") == ""


def test_the_draft_after_deleting_and_elsewhere() -> None:
    shown = ShownCompletion("x = ", "\n", "max(words)", "id")
    assert shown.draft_for("x", "\n") == " = max(words)"
    assert shown.draft_for("y = ", "\n") == ""


@given(texts, texts, texts)
def test_any_draft_comes_from_what_was_shown(before: str, text: str, now: str) -> None:
    draft = ShownCompletion(before, "", text, "id").draft_for(now, "")
    assert draft in before + text


def test_trees_are_kept_for_a_document_and_forgotten_with_it() -> None:
    session = _session()
    snapshot = session.documents.open(types.TextDocumentItem("file:///a", "python", 1, "x = 1\n"))
    first = session.tree_for(snapshot, "x = 1\n", 0, 0)
    assert session.tree_for(snapshot, "x = 1\n", 0, 0) is first
    session.forget("file:///a")
    assert session.documents.get("file:///a") is None
    assert session.tree_for(snapshot, "x = 1\n", 0, 0) is not first
    other = session.documents.open(types.TextDocumentItem("file:///a", "cobol", 1, "x"))
    assert session.tree_for(other, "x", 0, 0) is None
