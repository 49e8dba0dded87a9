"""What the server speaks beyond the standard: `seedls/*` methods, command names and their payloads.

Mirrored by the editor clients and documented in docs/protocol.md, which stores the hash of this file. Payload field
names are what goes over the wire.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

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


def checked_prompt(prompt: Any) -> str:
    """The user's words without blanks around them; ValueError when they are no text or too long."""
    if not isinstance(prompt, str):
        raise ValueError(f"instruction is {prompt!r}, not text")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise ValueError(f"the instruction has {len(prompt)} characters, more than {MAX_PROMPT_CHARACTERS}")
    return prompt.strip()


def to_wire(payload: StateChanged | Explanation | Status | ActionData | RefactorRequest | NextEdits) -> dict[str, Any]:
    """The JSON object of a payload."""
    return asdict(payload)
