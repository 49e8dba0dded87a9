"""What a model edit must prove before it may be applied, with the scripted engine in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from lsprotocol import types

from seedls.open_request import NoAnswer
from seedls.protocol import ActionData
from seedls.rewrite import Rewritten, rewrite
from seedls.session import Session
from seedls.syntax import parse
from seedls.text_edits import apply_replacements
from tests.seedls.texts import texts
from tests.support.fake_engine import FakeEngine, PlannedEdit, Script

URI = "file:///w/a.py"


def _rewrite(text: str, start: int, end: int, planned: PlannedEdit, language: str = "python", **data: Any) -> Rewritten:
    engine = FakeEngine(Script(edits=(planned,)))
    session = Session(lambda settings: engine)
    engine.load(lambda message, fraction: None)
    session.documents.open(types.TextDocumentItem(data.get("uri", URI), language, 1, text))
    request = ActionData(**{"uri": URI, "version": 1, "start": start, "end": end, "instruction": "simplify", **data})
    try:
        return asyncio.run(rewrite(session, request))
    finally:
        session.scheduler.close()


@settings(max_examples=100, deadline=None)
@given(texts, texts, texts, texts)
@example("", "\ra", "\n", "a\n")
def test_nothing_outside_the_range_changes_and_no_error_is_added(
    before: str, region: str, after: str, answer: str
) -> None:
    text = before + region + after
    start, end = len(before), len(before) + len(region)
    for boundary in (start, end):
        assume(text[max(0, boundary - 1) : boundary + 1] != "\r\n")
    assume(start < end)
    as_read = (before, answer, after)
    whole = "".join(part.replace("\r\n", "\n").replace("\r", "\n") for part in as_read)
    try:
        done = _rewrite(text, start, end, PlannedEdit(whole_text=whole))
    except NoAnswer as nothing:
        assert nothing.reason
        return
    new = apply_replacements(text, done.replacements)
    assert new.startswith(before)
    assert new.endswith(after)
    assert all(start <= hunk.start <= hunk.end <= end for hunk in done.replacements)
    assert new.replace("\r\n", "\n").replace("\r", "\n") == whole
    readable = text.replace("\r\n", "\n").replace("\r", "\n")  # the grammar does not know a lone CR as a line end
    old_tree, new_tree = parse("python", readable), parse("python", whole)
    assert old_tree is not None
    assert new_tree is not None
    assert new_tree.count_errors() <= old_tree.count_errors()


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(0, 40), st.integers(0, 40))
def test_any_range_is_answered_or_refused(text: str, start: int, end: int) -> None:
    try:
        done = _rewrite(text, start, end, PlannedEdit("a", "b"), language="")
    except NoAnswer as nothing:
        assert nothing.reason
        return
    assert apply_replacements(text, done.replacements) != text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"instruction": "paint"}, "unknown instruction 'paint'"),
        ({"version": 99}, "the document changed since the action was offered"),
        ({"uri": "file:///w/.env"}, "the file is excluded"),
        ({"end": 999}, "the range 0-999 is not in the document"),
        ({"start": -1}, "the range -1-5 is not in the document"),
        ({"start": 5}, "the range 5-5 is not in the document"),
    ],
)
def test_what_cannot_be_asked(data: dict[str, Any], reason: str) -> None:
    fields = {"start": 0, "end": 5, **data}
    with pytest.raises(NoAnswer) as refused:
        _rewrite("x = 1\n", fields.pop("start"), fields.pop("end"), PlannedEdit("1", "2"), **fields)
    assert refused.value.reason == reason


def test_mixed_line_endings_stay_where_nothing_changed() -> None:
    text = "a = 1\r\nb = 2\nc = 3\rd = 4\n"
    done = _rewrite(text, 0, len(text), PlannedEdit("c = 3", "c = 33"))
    assert apply_replacements(text, done.replacements) == text.replace("3", "33")
    assert len(done.replacements) == 1


def test_an_excluded_lone_surrogate_outside_the_range_survives() -> None:
    text = "a = '\ud83d'\nb = 2\n"
    done = _rewrite(text, text.index("b"), len(text), PlannedEdit("b = 2", "b = 3"))
    assert apply_replacements(text, done.replacements) == text.replace("2", "3")


def test_a_lone_surrogate_inside_the_range_is_not_rewritten_by_accident() -> None:
    text = "a = '\ud83d'\nb = 2\n"
    done = _rewrite(text, 0, len(text), PlannedEdit("b = 2", "b = 3"))
    assert apply_replacements(text, done.replacements) == text.replace("2", "3")


CODE = '"""🎉"""\r\ndef first(items):\r\n\treturn items[0]\r\n'


@pytest.mark.parametrize(
    ("instruction", "old", "new", "reason"),
    [
        ("simplify", "items[0]", "itms[0]", "the answer uses 'itms', which the file does not define"),
        ("typeHints", "(items)", "(items: Any)", "the answer uses 'Any', which the file does not define"),
        ("typeHints", "items[0]", "items[-1]", "the answer changes code, not only type hints and comments"),
        ("docstring", "items[0]", "items[-1]", "the answer changes code, not only docstrings and comments"),
        ("simplify", "return items[0]", "return (items[0]", "the answer would add a syntax error"),
    ],
)
def test_what_is_not_good_enough_to_offer(instruction: str, old: str, new: str, reason: str) -> None:
    start = CODE.index("def")
    with pytest.raises(NoAnswer, match=reason):
        _rewrite(CODE, start, len(CODE), PlannedEdit(old, new), instruction=instruction)


def test_what_an_instruction_asks_for_is_offered() -> None:
    start = CODE.index("def")
    for instruction, old, new in (
        ("docstring", "):\n", '):\n\t"""The first one."""\n'),
        ("typeHints", "(items)", "(items: list[int]) -> int"),
    ):
        done = _rewrite(CODE, start, len(CODE), PlannedEdit(old, new), instruction=instruction)
        assert apply_replacements(CODE, done.replacements) == CODE.replace(
            old.replace("\n", "\r\n"), new.replace("\n", "\r\n")
        )
