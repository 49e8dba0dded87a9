"""The trace format, the replaying editor, and one replay through a real server process with a scripted model."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.replay import __main__ as replay
from benchmarks.replay.connection import Reply
from benchmarks.replay.editor import Ask, TraceEditor
from benchmarks.replay.faults import count_faults, faults_of
from benchmarks.replay.report import format_summary, misses, summarise
from benchmarks.replay.trace import Step, TraceError, parse_trace

GOOD = """language: python
path: a.py
about: a test
<<<
one 🙂 = 1
two‸
>>>
# a comment
type " = "
ask show "2\\n"
accept
delete 1
jump 0:4
ask quiet
"""


def test_a_trace_is_read() -> None:
    trace = parse_trace("good", GOOD, "good.trace")
    assert (trace.language, trace.path, trace.text) == ("python", "a.py", "one 🙂 = 1\ntwo")
    assert trace.caret == len(trace.text)
    assert trace.steps[1] == Step("ask", "2\n", "show")
    assert [step.verb for step in trace.steps] == ["type", "ask", "accept", "delete", "jump", "ask"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("<<<\n", ""), "a.trace:1: needs a line <<<"),
        (("‸", ""), "a.trace:5: the text needs exactly one caret"),
        (("about: a test\n", ""), "a.trace:1: no 'about'"),
        (("delete 1", "delete one"), "a.trace:12: not a step: 'delete one'"),
        (("delete 1", "dance"), "a.trace:12: not a step: 'dance'"),
        (('type " = "', 'type "\\q"'), "a.trace:9: not a JSON string"),
        (('type " = "', 'type ""'), "a.trace:9: an empty text"),
        (("path: a.py", "path"), "a.trace:2: expected 'key: value'"),
    ],
)
def test_a_bad_trace_names_file_and_line(change: tuple[str, str], words: str) -> None:
    with pytest.raises(TraceError, match=words.replace("(", r"\(")):
        parse_trace("a", GOOD.replace(*change), "a.trace")


@given(st.text(alphabet='askquiethow "\\n‸<>:1', max_size=60), st.integers(0, 12))
def test_any_text_is_a_trace_or_a_trace_error(noise: str, line: int) -> None:
    lines = GOOD.split("\n")
    lines[min(line, len(lines) - 1)] = noise
    try:
        trace = parse_trace("fuzz", "\n".join(lines), "fuzz")
    except TraceError as error:
        assert str(error).startswith("fuzz:")
    else:
        assert trace.steps


def test_the_kept_traces_are_enough_and_balanced() -> None:
    traces = replay.load_traces([])
    assert len(traces) >= 30
    assert len({trace.language for trace in traces}) >= 5
    steps = [step for trace in traces for step in trace.steps]
    expectations = Counter(step.expect for step in steps if step.expect)
    assert expectations["show"] >= 20 and expectations["quiet"] >= 20
    assert {step.verb for step in steps} == {
        "type", "hurry", "ask", "invoke", "accept", "deviate", "delete", "jump", "cancel",
    }  # fmt: skip
    with pytest.raises(TraceError, match=r"no \*\.trace files"):
        replay.load_traces([Path(__file__).parent])


class ScriptedConnection:
    """Answers every request with the same item; keeps the server's copy of the text."""

    def __init__(self, insert: str, span: dict[str, Any] | None = None) -> None:
        self.item = {"insertText": insert, **({"range": span} if span else {})}
        self.sent: list[tuple[str, Any]] = []

    def notify(self, method: str, params: Any) -> None:
        self.sent.append((method, params))

    def send_request(self, method: str, params: Any) -> int:
        self.sent.append((method, params))
        return 1

    def wait(self, request: int) -> Reply:
        result = {"items": [self.item]} if self.item["insertText"] else None
        return Reply(result, None, 0.0)


def _replay(content: str, connection: ScriptedConnection) -> TraceEditor:
    editor = TraceEditor(connection, parse_trace("t", content, "t"), 0)  # type: ignore[arg-type]
    editor.replay()
    return editor


def _server_text(connection: ScriptedConnection) -> str:
    """What a server makes of the notifications, counting UTF-16 units."""
    text = ""
    for method, params in connection.sent:
        if method == "textDocument/didOpen":
            text = params["textDocument"]["text"]
        elif method == "textDocument/didChange":
            for change in params["contentChanges"]:
                start, end = (_utf16_offset(text, change["range"][key]) for key in ("start", "end"))
                units = text.encode("utf-16-le")
                inserted = change["text"].encode("utf-16-le")
                text = (units[: 2 * start] + inserted + units[2 * end :]).decode("utf-16-le")
    return text


def _utf16_offset(text: str, position: dict[str, int]) -> int:
    before = "".join(line + "\n" for line in text.split("\n")[: position["line"]])
    return len(before.encode("utf-16-le")) // 2 + position["character"]


def test_editor_and_server_have_the_same_text_and_acceptance_settles_on_the_wanted_text() -> None:
    connection = ScriptedConnection("3 # wrong")
    editor = _replay(GOOD, connection)
    assert editor.text == "one 🙂 = 1\ntwo = 2"
    assert _server_text(connection) == editor.text
    assert [(ask.expect, ask.shown) for ask in editor.asks] == [("show", "3 # wrong"), ("quiet", "3 # wrong")]
    assert editor.asks[1].after == "jump"
    versions = [params["textDocument"]["version"] for method, params in connection.sent if "didChange" in method]
    assert versions == sorted(set(versions))


def test_a_range_over_typed_text_is_not_counted_as_new() -> None:
    span = {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 6}}
    connection = ScriptedConnection("two = 2\n", span)
    editor = _replay(GOOD, connection)
    assert editor.asks[0].shown == "2\n"
    assert _server_text(connection) == editor.text


def _ask(expect: str, wanted: str, shown: str, ms: float = 10.0, kind: Any = "ask", error: str = "") -> Ask:
    return Ask("t", "type", kind, expect, wanted, shown, ms, error)


def test_rates_and_kept_characters() -> None:
    asks = [
        _ask("show", "abcd", "abcd", 10),
        _ask("show", "abcd", "abxx", 30),
        _ask("show", "abcd", "", 20),
        _ask("quiet", "", "noise"),
        _ask("quiet", "", ""),
        _ask("", "", "", 5, kind="cancel", error="cancelled"),
    ]
    summary = summarise(asks)
    assert summary["show_rate"]["share"] == pytest.approx(2 / 3, abs=1e-4)
    assert summary["quiet_rate"]["share"] == 0.5
    assert summary["kept_of_shown"] == 0.75
    assert summary["kept_of_wanted"] == 0.5
    assert summary["exact"]["count"] == 1
    assert summary["errors"] == 0
    assert summary["cancel_to_answer_ms"]["p50"] == 5.0
    assert [ask.shown for ask in misses(asks)] == ["", "noise"]
    assert "show_rate            66.7 % (2/3" in format_summary(summary)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("marked", "shown", "faults"),
    [
        ("x = f(|)\n", "a", ()),
        ("x = f(|)\n", "a)", ("duplicate_closer", "added_syntax_error")),
        ("x = f(a|\n", ")", ()),
        ("x = |\ntotal = 1\n", "2\ntotal = 1", ("repeated_suffix",)),
        ("x = | + total\n", "1 + total", ("repeated_suffix",)),
        ("def f():\n    |\n", "return ((", ()),
        ("def f():\n    |\n", "return 1 +* 2", ("added_syntax_error",)),
        ("|\n", "if x:", ()),
        ("x = |\n", "", ()),
    ],
)
def test_what_must_never_be_shown_is_counted(marked: str, shown: str, faults: tuple[str, ...]) -> None:
    before, _, after = marked.partition("|")
    assert faults_of("python", before, shown, after) == faults
    assert count_faults([faults, ()])["repeated_suffix"] == faults.count("repeated_suffix")


def test_replay_through_a_real_server(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"completions": [{"text": "2", "after": " = ", "confidence": 0.99}]}), "utf-8")
    with replay.run_session([*replay.SCRIPTED_SERVER, str(script)], {"completion": {"debounceMs": 0}}) as connection:
        asks = TraceEditor(connection, parse_trace("t", GOOD, "t"), 0).replay()
    assert asks[0].shown == "2"
    assert asks[1].shown == ""
    assert all(ask.ms > 0 and not ask.error for ask in asks)


@pytest.mark.e2e
def test_a_server_that_dies_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(replay.ServerLost, match=r"ended with status|does not read"),
        replay.run_session(["python3", "-c", "raise SystemExit(3)"], {}),
    ):
        pass
