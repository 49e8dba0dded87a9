"""Rewrite a range of a text on instruction, starting from the text that is there.

The canvas of every step is the old text from the place the new text has reached: a forward evaluates a whole block of
it, keeps what the model would have written anyway and goes on from the first token it would not. What does not change
costs one position of one forward. With the exact policies the result equals writing the range anew token by token.

The model sees the range without its common indentation and with `\\n` line ends; both come back afterwards, and lines
it left alone come back byte for byte.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_runtime.api import EditRequest, EditStep, FinishReason, ShouldStop
from model_runtime.diffusion.drafts import CanvasDrafter, Drafter, NgramDrafter, NoDrafter
from model_runtime.diffusion.generate import Model, Task, decode
from model_runtime.diffusion.infill import timings
from model_runtime.errors import RequestError
from model_runtime.prompts import FENCE, edit_ids

MAX_RANGE_TOKENS = 3000


@dataclass(frozen=True, slots=True)
class Range:
    """The part of a text to be rewritten, as the model sees it and as it was."""

    raw_lines: list[str]
    """Lines with their ends; the first may start, and the last may stop, inside a line."""
    indent: str
    newline: str
    code: str
    """Dedented, `\\n` ends, no newline at the end."""

    @classmethod
    def of(cls, text: str) -> Range:
        raw_lines = text.splitlines(keepends=True) if _has_only_plain_ends(text) else _split_lines(text)
        contents = [line.rstrip("\r\n") for line in raw_lines]
        indent = _common_indent(contents)
        newline = "\r\n" if sum(line.endswith("\r\n") for line in raw_lines) * 2 > len(raw_lines) else "\n"
        return cls(raw_lines, indent, newline, "\n".join(_dedent(line, indent) for line in contents))

    def restore(self, code: str) -> str:
        """`code` with indentation and line ends put back; lines that did not change come back as they were."""
        old = [_dedent(line.rstrip("\r\n"), self.indent) for line in self.raw_lines]
        new = code.split("\n")
        result: list[str] = []
        for kind, old_start, old_end, new_start, new_end in difflib.SequenceMatcher(
            None, old, new, autojunk=False
        ).get_opcodes():
            if kind == "equal":
                result += self.raw_lines[old_start:old_end]
            else:
                result += [
                    (self.indent + line if line.strip() else line) + self.newline for line in new[new_start:new_end]
                ]
        return self._with_old_end(result)

    def _with_old_end(self, lines: list[str]) -> str:
        """Every line but the last ends in a newline; the last ends as the old last line did."""
        fixed = [line if line.endswith(("\n", "\r")) else line + self.newline for line in lines]
        if not fixed:
            return ""
        old_end = self.raw_lines[-1][len(self.raw_lines[-1].rstrip("\r\n")) :] if self.raw_lines else ""
        fixed[-1] = fixed[-1].rstrip("\r\n") + old_end
        return "".join(fixed)


@dataclass(slots=True)
class _Answer:
    """The code written so far, up to the closing fence."""

    raw: bytearray = field(default_factory=bytearray)
    is_closed: bool = False

    @property
    def code(self) -> str:
        text = self.raw.decode("utf-8", "replace")
        fence = _closing_fence(text)
        return text if fence < 0 else text[:fence]


def edit(model: Model, request: EditRequest, should_stop: ShouldStop) -> Iterator[EditStep]:
    """Yield the whole text after every step, the range part new and part old; the last step is final.

    RequestError for a range outside the text, an empty instruction or a range that is too long.
    """
    started = time.perf_counter()
    end = len(request.text) if request.end is None else request.end
    _check_range(request, end)
    before, after = request.text[: request.start], request.text[end:]
    part = Range.of(request.text[request.start : end])
    tokenizer = model.tokenizer
    old_ids = tokenizer.encode(f"{part.code}\n{FENCE}")
    if len(old_ids) > MAX_RANGE_TOKENS:
        raise RequestError(f"the range has {len(old_ids)} tokens, at most {MAX_RANGE_TOKENS} can be rewritten at once")
    prompt = edit_ids(
        tokenizer, part.code, request.instruction, language=request.language, diagnostics=request.diagnostics
    )
    canvas = CanvasDrafter(old_ids, NgramDrafter(prompt))
    drafter: Drafter = NoDrafter() if request.params.policy == "ar" else canvas
    answer = _Answer()

    def judge(token_id: int) -> FinishReason | None:
        if tokenizer.is_special(token_id):
            return "end"
        answer.raw += tokenizer.token_bytes(token_id)
        return "end" if _closing_fence(answer.raw.decode("utf-8", "replace")) >= 0 else None

    for state in decode(model, Task(prompt, drafter, judge, request.params, should_stop, started)):
        is_complete = state.finish_reason == "end"
        rest = "" if is_complete else _rest_of_old(tokenizer.decode(old_ids[canvas.place :]))
        code = _strip_end(answer.code) if is_complete else answer.code + rest
        yield EditStep(
            text=before + part.restore(code) + after,
            done_offset=len(before) + (len(part.restore(code)) if is_complete else 0),
            is_final=state.finish_reason is not None,
            finish_reason=state.finish_reason or "length",
            tokens=len(state.token_ids),
            forwards=state.forwards,
            timings=timings(state, started),
        )
        if state.finish_reason is not None:
            return


def _check_range(request: EditRequest, end: int) -> None:
    if not 0 <= request.start <= end <= len(request.text):
        raise RequestError(f"range {request.start}:{end} is outside the text of {len(request.text)} characters")
    if not request.instruction.strip():
        raise RequestError("the instruction is empty")


def _closing_fence(text: str) -> int:
    """Offset of the newline before a line that is a bare fence, -1 without one."""
    if text.startswith(FENCE):
        return 0
    return text.find(f"\n{FENCE}")


def _rest_of_old(text: str) -> str:
    fence = _closing_fence(text)
    return text if fence < 0 else text[:fence]


def _strip_end(code: str) -> str:
    return code.rstrip("\n")


def _has_only_plain_ends(text: str) -> bool:
    return not any(mark in text for mark in "\v\f\x1c\x1d\x1e\x85\u2028\u2029")


def _split_lines(text: str) -> list[str]:
    """Lines with their ends, at \\n, \\r\\n and \\r only."""
    lines: list[str] = []
    start = 0
    for i, character in enumerate(text):
        if character == "\n" or (character == "\r" and text[i + 1 : i + 2] != "\n"):
            lines.append(text[start : i + 1])
            start = i + 1
    return lines + ([text[start:]] if start < len(text) else [])


def _common_indent(lines: list[str]) -> str:
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    if not indents:
        return ""
    shortest = min(indents, key=len)
    while shortest and not all(indent.startswith(shortest) for indent in indents):
        shortest = shortest[:-1]
    return shortest


def _dedent(line: str, indent: str) -> str:
    return line[len(indent) :] if line.startswith(indent) else line.lstrip(" \t")
