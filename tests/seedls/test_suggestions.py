"""The order of gates, model and filters, with the scripted engine in this process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from lsprotocol import types

from seedls import syntax
from seedls.documents import DocumentSnapshot
from seedls.positions import Encoding
from seedls.scene import Ask
from seedls.session import Session
from seedls.suggestions import Suggestions, suggest
from tests.seedls.texts import encodings, texts
from tests.support.fake_engine import FakeEngine, PlannedCompletion, Script

URI = "file:///w/a.py"


class Desk:
    """A session with one open document, and its engine's record."""

    def __init__(
        self,
        text: str,
        *planned: PlannedCompletion,
        encoding: Encoding = "utf-16",
        language: str = "python",
        **options: Any,
    ) -> None:
        self.engine = FakeEngine(Script(completions=planned))
        self.session = Session(lambda settings: self.engine)
        self.engine.load(lambda message, fraction: None)
        self.session.documents.encoding = encoding
        self.session.set_options("initialize", {"completion.debounceMs": 0, **options})
        self.snapshot: DocumentSnapshot = self.session.documents.open(types.TextDocumentItem(URI, language, 1, text))

    async def ask(self, offset: int, *, invoked: bool = False) -> Suggestions | None:
        place = self.snapshot.position_at(offset)
        return await suggest(self.session, Ask("inlineCompletion", URI, place, invoked))

    def shown(self, offset: int, *, invoked: bool = False) -> tuple[str, ...]:
        """The texts for the cursor at `offset`."""
        try:
            answer = asyncio.run(self.ask(offset, invoked=invoked))
        finally:
            self.session.scheduler.close()
        return answer.texts if answer else ()

    @property
    def reason(self) -> str:
        return self.session.metrics.last.reason

    @property
    def call(self) -> dict[str, Any]:
        """The first one; further candidates follow when asked for."""
        return next(call for call in self.engine.calls if call["call"] == "complete")


def test_weak_lines_are_cut_before_they_are_shown() -> None:
    text = "total = 0\n    guess = 1"
    planned = PlannedCompletion(text, token_ends=(10, len(text)), token_probs=(0.9, 0.1), confidence=0.3)
    assert Desk("def f():\n    \n", planned).shown(13) == ("total = 0",)
    planned = PlannedCompletion(text, token_ends=(10, len(text)), token_probs=(0.1, 0.9), confidence=0.3)
    desk = Desk("def f():\n    \n", planned)
    assert desk.shown(13) == ()
    assert desk.reason == "the model was not sure enough (0.30 < 0.35)"
    everything = Desk("def f():\n    \n", planned, **{"completion.minConfidence": 0})
    assert everything.shown(13) == (text,)


@pytest.mark.parametrize("reason", ["deadline", "length"])
def test_an_answer_cut_off_in_a_later_line_loses_that_line(reason: str) -> None:
    planned = PlannedCompletion("total = 0\n    return tot", finish_reason=reason)
    assert Desk("def f():\n    \n", planned).shown(13) == ("total = 0",)


@pytest.mark.parametrize(
    ("marked", "invoked", "max_lines"),
    [
        ("def f():\n    |\n", False, 8),
        ("x = foo(|)\n", False, 1),
        ("x = foo(|)\n", True, 1),
        ("value = a.|\n", False, 1),
        ("value = a.|\n", True, 8),
    ],
)
def test_how_many_lines_are_asked_for(marked: str, invoked: bool, max_lines: int) -> None:
    desk = Desk(marked.replace("|", ""), PlannedCompletion("b"))
    desk.shown(marked.index("|"), invoked=invoked)
    assert desk.call["max_lines"] == max_lines


def test_the_policy_of_the_settings_is_used() -> None:
    desk = Desk("x = \n", PlannedCompletion("b"), policy="fast")
    assert desk.shown(4) == ("b",)
    assert desk.call["policy"] == "fast"


def test_time_spent_in_the_queue_is_taken_from_the_deadline() -> None:
    desk = Desk("x = \n", PlannedCompletion("b"), **{"completion.debounceMs": 100, "completion.deadlineMs": 500})
    desk.shown(4)
    assert 0 < desk.call["deadline_ms"] <= 400


def test_strings_are_completed_unless_switched_off() -> None:
    assert Desk('x = "ab"\n', PlannedCompletion("c")).shown(7) == ("c",)
    desk = Desk('x = "ab"\n', PlannedCompletion("c"), **{"completion.inStrings": False})
    assert desk.shown(7) == ()
    assert desk.reason == "the cursor is in a string"
    asked = Desk('x = "ab"\n', PlannedCompletion("c"), **{"completion.inStrings": False})
    assert asked.shown(7, invoked=True) == ("c",)


@pytest.mark.parametrize(
    ("planned", "reason"),
    [
        (PlannedCompletion(""), "the model had nothing to add (end)"),
        (PlannedCompletion("  \n", finish_reason="suffix"), "the model had nothing to add (suffix)"),
        (PlannedCompletion("x", finish_reason="cancelled"), "the model was stopped"),
        (PlannedCompletion("((("), "it would add a syntax error"),
    ],
)
def test_the_reason_of_a_silence(planned: PlannedCompletion, reason: str) -> None:
    desk = Desk("a = 1\nx = \n", planned)
    assert desk.shown(10) == ()
    assert desk.reason == reason


def test_a_refused_request_is_no_crash() -> None:
    desk = Desk("x = \n", PlannedCompletion("", error="request"))
    with pytest.raises(Exception, match="refused"):
        desk.shown(4)
    assert desk.reason == "the request failed; see the log"


def test_the_model_waits_for_a_pause_in_typing() -> None:
    desk = Desk("x = \n", PlannedCompletion("b"), **{"completion.debounceMs": 50})

    async def three_keys() -> list[Suggestions | None]:
        tasks = []
        for _ in range(3):
            tasks.append(asyncio.ensure_future(desk.ask(4)))
            await asyncio.sleep(0.005)
        return await asyncio.gather(*tasks)

    answers = asyncio.run(three_keys())
    desk.session.scheduler.close()
    assert [answer is not None for answer in answers] == [False, False, True]
    assert desk.call["prefix"] == "x = "  # one call, not three


def test_a_passed_deadline_ends_the_search_for_more_candidates() -> None:
    planned = PlannedCompletion("b", delay_s=0.2)
    options = {"completion.candidates": 5, "completion.deadlineMs": 50}
    desk = Desk("x = \n", planned, **options)
    assert desk.shown(4, invoked=True) == ("b",)
    assert len([call for call in desk.engine.calls if call["call"] == "complete"]) == 1


@settings(max_examples=60, deadline=None)
@given(texts, texts, texts, encodings)
def test_accepting_a_suggestion_only_inserts_and_keeps_line_endings(
    before: str, after: str, model: str, encoding: Encoding
) -> None:
    text = before + after
    offset = len(before) - (1 if before.endswith("\r") and after.startswith("\n") else 0)
    desk = Desk(text, PlannedCompletion(model), encoding=encoding)
    answer = None

    async def run() -> None:
        nonlocal answer
        answer = await desk.ask(offset, invoked=True)

    asyncio.run(run())
    desk.session.scheduler.close()
    if answer is None:
        assert desk.reason
        return
    start, end = desk.snapshot.offsets_at(answer.span)
    assert answer.span.start.line == answer.span.end.line
    assert (start, end) == (offset, offset)
    (shown,) = answer.texts
    assert shown.strip()
    if "\r\n" in text and text.count("\n") == text.count("\r\n") == text.count("\r"):
        assert shown.count("\n") == shown.count("\r\n")


@pytest.mark.parametrize(("begun", "answer"), [("x", "one + 1"), ("    r = [", "1]\n    ")])  # the bracket stays open
def test_a_keystroke_in_a_file_of_10_000_lines_parses_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch, begun: str, answer: str
) -> None:
    """Work is counted, not time: characters given to the parser between the first answer and the last."""
    text = "".join(f"def f{n}(a, b):\n    total = a + b * {n}\n    return total\n\n" for n in range(2500))
    desk = Desk(text, PlannedCompletion(answer))
    place = desk.snapshot.offset_at(types.Position(5003, 0))
    parsed: list[int] = []
    encode = syntax._encode

    def counting(part: str) -> bytes:
        parsed.append(len(part))
        return encode(part)

    async def type_and_ask() -> None:
        column = 0
        for number in range(40):
            at = types.Position(5003, column)
            typed = begun if number == 0 else "x"
            change = types.TextDocumentContentChangePartial(types.Range(at, at), typed)
            changed = desk.session.change(URI, number + 2, [change])
            assert changed is not None
            desk.snapshot = changed
            column += len(typed)
            assert await desk.ask(place + column) is not None
            if number == 0:
                monkeypatch.setattr(syntax, "_encode", counting)

    asyncio.run(type_and_ask())
    desk.session.close()
    assert parsed
    assert max(parsed) < 8_000  # of 150,000
    assert sum(parsed) / 39 < 20_000


async def _accept(desk: Desk, before: str, text: str) -> None:
    """Insert `text` behind `before`, as an editor does when the user accepts."""
    at = desk.snapshot.position_at(len(before))
    change = types.TextDocumentContentChangePartial(types.Range(at, at), text)
    changed = desk.session.change(URI, desk.snapshot.version + 1, [change])
    assert changed is not None
    desk.snapshot = changed


def test_what_follows_an_accepted_completion_was_computed_ahead() -> None:
    before = "def f(a):\n    if "
    planned = (PlannedCompletion("a:", after="if "), PlannedCompletion("\n        return 1", after="if a:"))
    desk = Desk(before + "\n", *planned, **{"completion.lookAhead": True})

    async def session() -> None:
        assert (await desk.ask(len(before))).texts == ("a:",)  # type: ignore[union-attr]
        assert desk.session.ahead_task is not None
        await desk.session.ahead_task
        num_calls = len(desk.engine.calls)
        await _accept(desk, before, "a:")
        assert (await desk.ask(len(before) + 2)).texts == ("\n        return 1",)  # type: ignore[union-attr]
        assert desk.reason == "was computed ahead"
        assert len(desk.engine.calls) == num_calls

    asyncio.run(session())
    desk.session.close()


def test_looking_ahead_yields_to_every_request_and_is_off_by_default() -> None:
    before = "x = "
    slow = PlannedCompletion("later", after="x = now", delay_s=20)
    desk = Desk("x = \ny = \n", PlannedCompletion("now", after="x = "), slow, PlannedCompletion("two", after="y = "))

    async def session() -> None:
        assert await desk.ask(len(before)) is not None
        assert desk.session.ahead_task is None
        desk.session.set_options("configuration", {"completion.lookAhead": True})
        desk.session.shown.clear()
        assert await desk.ask(len(before)) is not None
        await asyncio.sleep(0.1)
        desk.session.set_options("configuration", {})
        started = time.monotonic()
        assert (await desk.ask(len("x = \ny = "))).texts == ("two",)  # type: ignore[union-attr]
        assert time.monotonic() - started < 10  # of the 20 that looking ahead would take
        assert [call["was_stopped"] for call in desk.engine.calls if "was_stopped" in call].count(True) == 1

    asyncio.run(session())
    desk.session.close()
