"""An editor with one document: replays a trace's steps against a server and records every answer.

Positions are UTF-16, as VS Code sends them. Knows traces and the protocol; judges nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.replay.connection import Connection, Reply
from benchmarks.replay.faults import faults_of
from benchmarks.replay.trace import Step, Trace

INLINE = "textDocument/inlineCompletion"
INVOKED, AUTOMATIC = 1, 2


@dataclass(frozen=True, slots=True)
class Ask:
    """One request and its answer."""

    trace: str
    after: str
    """What the developer did just before: `open`, `type`, `delete`, `accept`, `jump`, `deviate`, ..."""
    kind: Literal["ask", "invoke", "hurry", "cancel"]
    expect: str
    """`show`, `quiet`, or "" where anything goes."""
    wanted: str
    shown: str
    """The text that would appear ("" for silence)."""
    ms: float
    """Until the answer; for `cancel` from the cancellation to the answer."""
    error: str = ""
    faults: tuple[str, ...] = ()
    """What must never be shown (benchmarks/replay/faults.py)."""


class TraceEditor:
    """Opens the trace's document, replays, closes it."""

    def __init__(self, connection: Connection, trace: Trace, number: int) -> None:
        self.connection = connection
        self.trace = trace
        self.uri = f"file:///replay/{number}/{trace.path}"
        self.text, self.caret = trace.text, trace.caret
        self.version = 1
        self.last_verb = "open"
        self.offered: dict[str, Any] | None = None
        self.wanted = ""
        self.asks: list[Ask] = []

    def replay(self) -> list[Ask]:
        """Run all steps; returns the requests made."""
        document = {"uri": self.uri, "languageId": self.trace.language, "version": self.version, "text": self.text}
        self.connection.notify("textDocument/didOpen", {"textDocument": document})
        for step in self.trace.steps:
            self._run(step)
            self.last_verb = step.verb
        self.connection.notify("textDocument/didClose", {"textDocument": {"uri": self.uri}})
        return self.asks

    def _run(self, step: Step) -> None:
        if step.verb in ("type", "deviate"):
            for character in step.text:
                self._replace(self.caret, self.caret, character)
        elif step.verb == "hurry":
            self._hurry(step.text)
        elif step.verb in ("ask", "invoke"):
            self._ask(step)
        elif step.verb == "accept":
            self._accept()
        elif step.verb == "delete":
            for _ in range(min(step.count, self.caret)):
                self._replace(self.caret - 1, self.caret, "")
        elif step.verb == "jump":
            lines = self.text.split("\n")
            self.caret = sum(len(line) + 1 for line in lines[: step.line]) + step.column
        else:
            self._cancel()

    def _ask_params(self, trigger: int) -> dict[str, Any]:
        return {
            "textDocument": {"uri": self.uri},
            "position": self._position(self.caret),
            "context": {"triggerKind": trigger},
        }

    def _send_ask(self, trigger: int) -> int:
        return self.connection.send_request(INLINE, self._ask_params(trigger))

    def _ask(self, step: Step) -> None:
        # Finding the position in a long text is this editor's work, not the server's.
        params = self._ask_params(INVOKED if step.verb == "invoke" else AUTOMATIC)
        started = time.perf_counter()
        reply = self.connection.wait(self.connection.send_request(INLINE, params))
        self.offered, self.wanted = _first_item(reply), step.text
        kind: Literal["ask", "invoke"] = "invoke" if step.verb == "invoke" else "ask"
        self._record(kind, step.expect or "", step.text, reply, (reply.at - started) * 1000)

    def _hurry(self, text: str) -> None:
        """Every keystroke cancels the request of the one before; the last one is waited for."""
        waiting: list[tuple[int, float]] = []
        self.last_verb = "hurry"
        for character in text:
            if waiting:
                self.connection.notify("$/cancelRequest", {"id": waiting[-1][0]})
            self._replace(self.caret, self.caret, character)
            waiting.append((self._send_ask(AUTOMATIC), time.perf_counter()))
        for request, started in waiting:
            reply = self.connection.wait(request)
            if request == waiting[-1][0]:
                self.offered = _first_item(reply)
                self._record("hurry", "", "", reply, (reply.at - started) * 1000)

    def _cancel(self) -> None:
        request = self._send_ask(AUTOMATIC)
        # Long enough for the model to have started, far too short for it to have finished on a CPU.
        time.sleep(0.02)
        cancelled = time.perf_counter()
        self.connection.notify("$/cancelRequest", {"id": request})
        reply = self.connection.wait(request)
        self._record("cancel", "", "", reply, max(0.0, reply.at - cancelled) * 1000)

    def _accept(self) -> None:
        """Insert what was offered, then make the text what the developer wanted."""
        if self.offered is None:
            self._replace(self.caret, self.caret, self.wanted)
            return
        start, end = self.caret, self.caret
        if span := self.offered.get("range"):
            start, end = self._offset(span["start"]), self._offset(span["end"])
        kept_after = self.text[self.caret : end]
        before = self.text[start : self.caret]
        self._replace(start, end, self.offered["insertText"])
        command = self.offered.get("command")
        if command:
            params = {"command": command["command"], "arguments": command.get("arguments", [])}
            self.connection.request("workspace/executeCommand", params)
        settled = f"{before}{self.wanted}{kept_after}"
        if self.wanted and self.offered["insertText"] != settled:
            self._replace(start, start + len(self.offered["insertText"]), settled)
        self.offered = None

    def _record(self, kind: Any, expect: str, wanted: str, reply: Reply, ms: float) -> None:
        item = _first_item(reply)
        shown = ""
        if item is not None:
            shown = item["insertText"]
            if span := item.get("range"):
                # A range may reach back over what is typed already: that part is not new text.
                typed = self.text[self._offset(span["start"]) : self.caret]
                shown = shown.removeprefix(typed)
        error = "" if reply.error is None else str(reply.error.get("message"))
        faults = faults_of(self.trace.language, self.text[: self.caret], shown, self.text[self.caret :])
        self.asks.append(Ask(self.trace.name, self.last_verb, kind, expect, wanted, shown, ms, error, faults))

    def _replace(self, start: int, end: int, text: str) -> None:
        span = {"start": self._position(start), "end": self._position(end)}
        self.text = self.text[:start] + text + self.text[end:]
        self.caret = start + len(text)
        self.version += 1
        params = {
            "textDocument": {"uri": self.uri, "version": self.version},
            "contentChanges": [{"range": span, "text": text}],
        }
        self.connection.notify("textDocument/didChange", params)

    def _position(self, offset: int) -> dict[str, int]:
        line = self.text.count("\n", 0, offset)
        column = self.text[self.text.rfind("\n", 0, offset) + 1 : offset]
        return {"line": line, "character": len(column.encode("utf-16-le")) // 2}

    def _offset(self, position: dict[str, int]) -> int:
        lines = self.text.split("\n")
        start = sum(len(line) + 1 for line in lines[: position["line"]])
        units = lines[position["line"]].encode("utf-16-le")[: 2 * position["character"]]
        return start + len(units.decode("utf-16-le", "ignore"))


def _first_item(reply: Reply) -> dict[str, Any] | None:
    result = reply.result
    items = result.get("items", []) if isinstance(result, dict) else result or []
    return items[0] if items and items[0].get("insertText") else None
