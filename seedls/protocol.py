"""What the server speaks beyond the standard: `seedls/*` methods, command names and their payloads.

Mirrored by the editor clients and documented in docs/protocol.md, which stores the hash of this file. Payload field
names are what goes over the wire.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from lsprotocol import types

STATUS = "seedls/status"
"""Request, client to server, no params; answers a `Status`."""
EXPLAIN_LAST = "seedls/explainLast"
"""Request, client to server, no params; answers an `Explanation`. Unlike the command it shows nothing."""
NEXT_EDIT = "seedls/nextEdit"
"""Request, client to server, params `{textDocument: {uri, version?}, position}`; answers a `NextEdits` or null."""
COPILOT_INLINE_EDIT = "textDocument/copilotInlineEdit"
"""Request with the same params; answers `{edits: [{textDocument, range, text, command}]}`, at most one edit."""
COPILOT_DID_FOCUS = "textDocument/didFocus"
COPILOT_DID_SHOW = "textDocument/didShowInlineEdit"
"""Notifications that interfaces for the above send; taken and ignored."""
STATE_CHANGED = "seedls/stateChanged"
"""Notification, server to client: a `StateChanged` whenever the model's state changes."""
EDIT_RUN_START = "seedls/editRun/start"
"""Request, client to server, an `EditRunStart`; answers an `EditRunState`. The model waits for the first step."""
EDIT_RUN_STEP = "seedls/editRun/step"
"""Request, client to server, an `EditRunRequest`; lets the model work for a moment and answers an `EditRunState`."""
EDIT_RUN_ACCEPT = "seedls/editRun/accept"
"""Request, client to server, an `EditRunRequest`; applies through the client what was shown last, at any step."""
EDIT_RUN_CANCEL = "seedls/editRun/cancel"
"""Request, client to server, an `EditRunRequest`; stops and forgets the run."""

COMMAND_STATUS = "seedls.status"
"""No arguments; shows one line about model and counters, returns a `Status`."""
COMMAND_EXPLAIN_LAST = "seedls.explainLast"
"""No arguments; shows and returns an `Explanation` of the last completion or action."""
COMMAND_RESTART = "seedls.restart"
"""No arguments; loads the model again."""
COMMAND_ACCEPTED = "seedls.accepted"
"""One argument, the completion's id: the client ran it because the user accepted that completion."""
COMMAND_APPLY_ACTION = "seedls.applyAction"
"""One argument, an `ActionData`: for clients that cannot resolve `edit` of a code action."""
COMMAND_REFACTOR = "seedls.refactor"
"""One argument, a `RefactorRequest`: a rewrite in the user's own words, applied through the client."""

COMMAND_DELETE_KEPT_RATE = "seedls.deleteKeptRate"
"""No arguments; deletes the local file of kept rates, returns true when there was one."""

CUSTOM_INSTRUCTION = "custom"
"""`ActionData.instruction` of a rewrite in the user's own words."""
MAX_PROMPT_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The model's state."""

    state: str
    """`unloaded`, `loading`, `ready` or `failed`."""
    message: str
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the last answer was what it was. Never contains text of the user's files."""

    request: str
    """`inlineCompletion`, `completion`, `codeAction/resolve` or "" when nothing was asked yet."""
    outcome: str
    """`shown`, `quiet`, `stale`, `superseded`, `cancelled`, `failed`, `late`, `closed`; "" when nothing was asked."""
    reason: str
    """One line for people."""
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Status:
    """Model and counters of this session."""

    state: str
    message: str
    model: str
    counters: dict[str, int] = field(default_factory=dict)
    p50_ms: dict[str, float] = field(default_factory=dict)
    p90_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActionData:
    """`CodeAction.data`: which rewrite, of which characters, of which version."""

    uri: str
    version: int
    start: int
    """Character offset in that version's text."""
    end: int
    instruction: str
    """Id of a built-in instruction (`seedls/instructions.py`), or `custom`."""
    diagnostics: list[str] = field(default_factory=list)
    prompt: str = ""
    """The user's own words, where `instruction` is `custom`."""

    @classmethod
    def from_wire(cls, raw: Any) -> ActionData:
        """Read what a client sent back; ValueError naming the field when it is not what we gave it."""
        expected = {"uri": str, "version": int, "start": int, "end": int, "instruction": str}
        values: dict[str, Any] = {}
        for name, kind in expected.items():
            value = raw.get(name) if isinstance(raw, dict) else getattr(raw, name, None)
            if not isinstance(value, kind):
                raise ValueError(f"action data: {name} is {value!r}, not {kind.__name__}")
            values[name] = value
        diagnostics = raw.get("diagnostics") if isinstance(raw, dict) else getattr(raw, "diagnostics", None)
        prompt = (raw.get("prompt") if isinstance(raw, dict) else getattr(raw, "prompt", None)) or ""
        return cls(**values, diagnostics=[str(message) for message in diagnostics or []], prompt=checked_prompt(prompt))


@dataclass(frozen=True, slots=True)
class RefactorRequest:
    """A rewrite in the user's own words."""

    uri: str
    range: dict[str, Any]
    """An LSP range; an empty one means the function around it."""
    instruction: str
    """What to do, in one or a few sentences."""


@dataclass(frozen=True, slots=True)
class NextEdit:
    """One follow-up edit."""

    range: dict[str, Any]
    """An LSP range of the version in `NextEdits`."""
    text: str
    kind: str
    """`rename`, `argument` or `repeat`."""


@dataclass(frozen=True, slots=True)
class NextEdits:
    """Follow-up edits of one version of a document: any of them may be applied, also all."""

    uri: str
    version: int
    id: str
    """Argument of `seedls.accepted` when the user takes one."""
    edits: list[NextEdit]
    """The nearest behind the cursor first."""


@dataclass(frozen=True, slots=True)
class EditRunStart:
    """An edit that the user wants to watch."""

    uri: str
    instruction: str
    """Id of a built-in rewrite, or the user's own words."""
    range: types.Range | None = None
    """None: the whole document; an empty one: the function around it."""
    pinned: tuple[types.Range, ...] = ()
    """What must stay byte for byte."""
    diagnostics: tuple[str, ...] = ()

    @classmethod
    def from_wire(cls, raw: Any) -> EditRunStart:
        """Read what a client sent; ValueError naming what is wrong."""
        if not isinstance(raw, dict) or not isinstance(raw.get("uri"), str):
            raise ValueError("uri is missing")
        span, pinned, diagnostics = raw.get("range"), raw.get("pinned") or [], raw.get("diagnostics") or []
        if not isinstance(pinned, list) or not isinstance(diagnostics, list):
            raise ValueError("pinned and diagnostics are lists")
        return cls(
            raw["uri"],
            checked_prompt(raw.get("instruction")),
            None if span is None else range_from_wire(span, "range"),
            tuple(range_from_wire(each, "pinned") for each in pinned),
            tuple(str(each) for each in diagnostics),
        )


@dataclass(frozen=True, slots=True)
class EditRunRequest:
    """What is asked of a run."""

    run: str
    """Its id, from `EditRunState`."""
    milliseconds: int = 100
    """`step` only: about how long the model may work, 1 to 10000."""

    @classmethod
    def from_wire(cls, raw: Any) -> EditRunRequest:
        """Read what a client sent; what cannot be read names no run."""
        raw = raw if isinstance(raw, dict) else {}
        run, milliseconds = raw.get("run"), raw.get("milliseconds")
        is_number = isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool)
        return cls(str(run), int(min(10_000, max(1, milliseconds or 1))) if is_number else 100)


@dataclass(frozen=True, slots=True)
class EditRunState:
    """How far a run is, and the edits that would be applied now."""

    run: str
    state: str
    """`running`, `done`, `stopped` (the model found no end; what is shown may be taken), `stale` (the document changed
    in the same place), `failed`, `cancelled` or `accepted`."""
    reason: str = ""
    """One line for people where the state needs one."""
    version: int = 0
    """Of the document that `edits` belong to: the newest."""
    edits: list[dict[str, Any]] = field(default_factory=list)
    """LSP text edits, ascending and disjoint; a whole, checked text at every step."""
    fraction: float = 0.0
    """Of the range that is final, 0-1."""
    tokens: int = 0
    forwards: int = 0


def range_from_wire(raw: Any, name: str) -> types.Range:
    """An LSP range; positions past the end are clamped later, as everywhere. ValueError naming the wrong end."""
    ends = []
    for side in ("start", "end"):
        position = raw.get(side) if isinstance(raw, dict) else None
        line, character = (position.get("line"), position.get("character")) if isinstance(position, dict) else (0, None)
        if type(line) is not int or type(character) is not int or line < 0 or character < 0:
            raise ValueError(f"{name}.{side} is {position!r}, not a position")
        ends.append(types.Position(line, character))
    return types.Range(*ends)


def checked_prompt(prompt: Any) -> str:
    """The user's words without blanks around them; ValueError when they are no text or too long."""
    if not isinstance(prompt, str):
        raise ValueError(f"instruction is {prompt!r}, not text")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise ValueError(f"the instruction has {len(prompt)} characters, more than {MAX_PROMPT_CHARACTERS}")
    return prompt.strip()


def to_wire(
    payload: StateChanged | Explanation | Status | ActionData | RefactorRequest | EditRunState | NextEdits,
) -> dict[str, Any]:
    """The JSON object of a payload."""
    return asdict(payload)
