"""The trace format: a file with a caret, and what the developer does next. Knows no protocol.

    language: python                 LSP language id
    path: src/shop.py                name of the document
    about: one line for people
    <<<
    text of the file with one ‸ where the caret is
    >>>
    type "for x"                     characters, one change each, nothing asked in between
    hurry "in it"                    a request after every character, each cancelled by the next keystroke
    ask show " in items:"            request (as while typing); a suggestion like this text should appear
    ask quiet                        request; nothing should appear
    invoke show "text"               like ask, but the developer pressed the key for it
    accept                           take the suggestion; what then differs from the wanted text is corrected
    deviate "other"                  type something else than the suggestion
    delete 3                         backspace, one change each
    jump 4:0                         move the caret (line and column from 0, columns in characters)
    cancel                           request, and cancel it at once

Quoted texts are JSON strings. Blank lines and lines starting with # between the steps are skipped.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CARET = "‸"
Verb = Literal["type", "hurry", "ask", "invoke", "accept", "deviate", "delete", "jump", "cancel"]
Expectation = Literal["show", "quiet"]


class TraceError(ValueError):
    """A trace that cannot be read; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the developer does."""

    verb: Verb
    text: str = ""
    """type, hurry, deviate: the characters; ask, invoke: the wanted suggestion."""
    expect: Expectation | None = None
    count: int = 0
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """One replayable session in one document."""

    name: str
    language: str
    path: str
    about: str
    text: str
    caret: int
    """Character offset in `text`."""
    steps: tuple[Step, ...]


_STEPS = {
    "type": r'type (".*")',
    "hurry": r'hurry (".*")',
    "deviate": r'deviate (".*")',
    "ask": r'ask (?:(quiet)|(show) (".*"))',
    "invoke": r'invoke (?:(quiet)|(show) (".*"))',
    "accept": r"accept",
    "delete": r"delete (\d+)",
    "jump": r"jump (\d+):(\d+)",
    "cancel": r"cancel",
}


def read_trace(path: Path) -> Trace:
    """Raises TraceError."""
    return parse_trace(path.stem, path.read_text("utf-8"), str(path))


def parse_trace(name: str, content: str, where: str) -> Trace:
    """`where` names the file in errors."""
    lines = content.split("\n")
    try:
        start, end = lines.index("<<<"), lines.index(">>>")
    except ValueError:
        raise TraceError(f"{where}:1: needs a line <<< and a line >>>") from None
    header = _header(lines[:start], where)
    text = "\n".join(lines[start + 1 : end])
    if text.count(CARET) != 1:
        raise TraceError(f"{where}:{start + 2}: the text needs exactly one caret {CARET}, found {text.count(CARET)}")
    steps = tuple(
        _step(line.strip(), f"{where}:{number}")
        for number, line in enumerate(lines[end + 1 :], start=end + 2)
        if line.strip() and not line.strip().startswith("#")
    )
    if not any(step.verb in ("ask", "invoke", "cancel", "hurry") for step in steps):
        raise TraceError(f"{where}:{end + 1}: asks for nothing")
    caret = text.index(CARET)
    plain = text.replace(CARET, "")
    return Trace(name, header["language"], header["path"], header["about"], plain, caret, steps)


def _header(lines: list[str], where: str) -> dict[str, str]:
    header: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        key, colon, value = line.partition(":")
        if line.strip() and not (colon and value.strip()):
            raise TraceError(f"{where}:{number}: expected 'key: value', found {line!r}")
        header[key.strip()] = value.strip()
    for key in ("language", "path", "about"):
        if key not in header:
            raise TraceError(f"{where}:1: no {key!r}")
    return header


def _step(line: str, where: str) -> Step:
    verb = line.partition(" ")[0]
    match = re.fullmatch(_STEPS[verb], line) if verb in _STEPS else None
    if match is None:
        raise TraceError(f"{where}: not a step: {line!r}")
    if verb in ("ask", "invoke"):
        quiet, show, wanted = match.groups()
        return Step(verb, _text(wanted, where) if show else "", quiet or show)  # type: ignore[arg-type]
    if verb == "delete":
        return Step("delete", count=int(match.group(1)))
    if verb == "jump":
        return Step("jump", line=int(match.group(1)), column=int(match.group(2)))
    return Step(verb, _text(match.group(1), where) if match.groups() else "")  # type: ignore[arg-type]


def _text(quoted: str, where: str) -> str:
    try:
        text = json.loads(quoted)
    except ValueError:
        raise TraceError(f"{where}: not a JSON string: {quoted}") from None
    assert isinstance(text, str)
    if not text:
        raise TraceError(f"{where}: an empty text")
    return text
