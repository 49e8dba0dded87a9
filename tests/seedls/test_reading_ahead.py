"""A resting caret is read around, once, and only while nothing else is to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from lsprotocol import types

from seedls import reading_ahead
from seedls.features.code_action import code_action
from seedls.reading_ahead import caret_rests
from seedls.scene import Ask
from seedls.session import Session
from seedls.suggestions import suggest
from tests.support.fake_engine import FakeEngine, PlannedCompletion, Script

URI = "file:///w/a.py"
TEXT = 'a = 1\r\nname = "🎉"\r\n\tb = \r\n# why\r\n'


class Desk:
    """A session with one document that was just typed into."""

    def __init__(self, *planned: PlannedCompletion, text: str = TEXT, is_typed: bool = True, **options: Any) -> None:
        self.engine = FakeEngine(Script(completions=planned))
        self.session = Session(lambda settings: self.engine)
        self.engine.load(lambda message, fraction: None)
        self.session.set_options("initialize", {"completion.debounceMs": 0, "completion.readAhead": True, **options})
        self.session.documents.open(types.TextDocumentItem(URI, "python", 1, text))
        if is_typed:
            start = types.Position(0, 0)
            change = types.TextDocumentContentChangePartial(types.Range(start, start), "")
            self.session.change(URI, 2, [change])

    @property
    def reads(self) -> list[dict[str, Any]]:
        return [call for call in self.engine.calls if call["call"] == "read_ahead"]

    def play(self, scene: Callable[[], Awaitable[None]]) -> list[dict[str, Any]]:
        """What was read while the scene was played."""

        async def whole() -> None:
            await scene()
            if self.session.reading_task is not None:
                await asyncio.wait({self.session.reading_task}, timeout=10)

        try:
            asyncio.run(whole())
        finally:
            self.session.close()
        return self.reads

    def rest(self, line: int, character: int) -> None:
        caret_rests(self.session, URI, types.Position(line, character))


@pytest.fixture(autouse=True)
def a_short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "REST_S", 0.03)


def test_what_a_completion_would_read_is_read() -> None:
    desk = Desk(PlannedCompletion("2", after="b = "))

    async def scene() -> None:
        desk.rest(2, 5)
        assert desk.session.reading_task is not None
        await desk.session.reading_task
        assert await suggest(desk.session, Ask("inlineCompletion", URI, types.Position(2, 5))) is not None

    (read,) = desk.play(scene)
    asked = next(call for call in desk.engine.calls if call["call"] == "complete")
    assert (read["prefix"], read["suffix"]) == (asked["prefix"], asked["suffix"])
    assert read["prefix"] == 'a = 1\nname = "🎉"\n\tb = ' and read["deadline_ms"] == 2500
    assert desk.session.metrics.last.request == "inlineCompletion", "nobody asked for what was read ahead"


def test_only_the_place_where_the_caret_comes_to_rest_is_read() -> None:
    desk = Desk()

    async def scene() -> None:
        for line in range(3):
            desk.rest(line, 0)
            await asyncio.sleep(0.005)

    (read,) = desk.play(scene)
    assert read["prefix"].count("\n") == 2


@pytest.mark.parametrize(
    ("line", "options"),
    [
        (2, {"completion.readAhead": False}),
        (2, {"completion.enabled": False}),
        (2, {"exclude": ["**/a.py"]}),
        (2, {"is_typed": False}),
        (3, {}),  # in a comment, where nothing would be shown
    ],
)
def test_where_nothing_would_be_shown_or_nobody_types_nothing_is_read(line: int, options: dict[str, Any]) -> None:
    desk = Desk(**options)

    async def scene() -> None:
        desk.rest(line, 5)

    assert not desk.play(scene)


def test_a_file_that_was_left_alone_for_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "EDITED_WITHIN_S", -1.0)
    desk = Desk()

    async def scene() -> None:
        desk.rest(2, 5)

    assert not desk.play(scene)


def test_a_running_completion_is_not_followed_by_a_read() -> None:
    desk = Desk(PlannedCompletion("2", after="b = ", delay_s=0.4))

    async def scene() -> None:
        asking = asyncio.ensure_future(suggest(desk.session, Ask("inlineCompletion", URI, types.Position(2, 5))))
        await asyncio.sleep(0.05)
        desk.rest(2, 5)
        assert await asking is not None

    assert not desk.play(scene)


def test_a_completion_does_not_wait_for_a_read() -> None:
    slow = PlannedCompletion("later", after="a = 1\n", delay_s=20)
    desk = Desk(slow, PlannedCompletion("2", after="b = "))

    async def scene() -> None:
        desk.rest(1, 0)
        await asyncio.sleep(0.2)
        assert not desk.session.scheduler.is_idle
        async with asyncio.timeout(10):
            assert await suggest(desk.session, Ask("inlineCompletion", URI, types.Position(2, 5))) is not None

    (read,) = desk.play(scene)
    assert read["was_stopped"]


@pytest.mark.parametrize("error", ["request", "broken", "odd"])
def test_a_read_that_fails_is_not_heard_of(error: str, caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(PlannedCompletion("2", after="b = ", error=error))

    broken: list[object] = []

    async def on_broken(engine: object) -> None:
        broken.append(engine)

    desk.session.on_broken = on_broken

    async def scene() -> None:
        desk.rest(2, 5)

    desk.play(scene)
    assert broken == ([desk.engine] if error == "broken" else [])
    assert [record.message for record in caplog.records] == (
        ["reading ahead failed: ValueError"] if error == "odd" else []
    )
    assert "b =" not in caplog.text


@pytest.mark.parametrize(
    ("end", "trigger", "num_read"),
    [
        (5, types.CodeActionTriggerKind.Automatic, 1),
        (5, None, 1),
        (5, types.CodeActionTriggerKind.Invoked, 0),
        (6, types.CodeActionTriggerKind.Automatic, 0),  # a selection is no caret
    ],
)
def test_the_light_bulb_tells_where_the_caret_is(
    end: int, trigger: types.CodeActionTriggerKind | None, num_read: int
) -> None:
    desk = Desk(text=TEXT + "\n")

    class Server:
        session: Session = desk.session

    span = types.Range(types.Position(0, 5), types.Position(0, end))
    context = types.CodeActionContext([], trigger_kind=trigger)
    params = types.CodeActionParams(types.TextDocumentIdentifier(URI), span, context)

    async def scene() -> None:
        await code_action(Server(), params)  # type: ignore[arg-type]

    assert len(desk.play(scene)) == num_read
