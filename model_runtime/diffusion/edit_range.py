"""The part of a text that an edit may change: what the model sees of it, and the way back to the file's own bytes.

The model sees code without its common indentation and with `\\n` line ends. Both come back, and lines that it left
alone come back byte for byte. Pure: text in and out.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Lines to be rewritten, as the model sees them and as they were."""

    raw_lines: list[str]
    """Lines with their ends; the first may start, and the last may stop, inside a line."""
    indent: str
    newline: str
    code: str
    """Dedented, `\\n` ends, no newline at the end."""

    @classmethod
    def of(cls, text: str) -> Range:
        """Any text; lines end at `\\n`, `\\r\\n` and `\\r` only."""
        raw_lines = split_lines(text)
        contents = [line.rstrip("\r\n") for line in raw_lines]
        indent = _common_indent(contents)
        newline = "\r\n" if sum(line.endswith("\r\n") for line in raw_lines) * 2 > len(raw_lines) else "\n"
        return cls(raw_lines, indent, newline, "\n".join(_dedent(line, indent) for line in contents))

    def restore(self, code: str) -> str:
        """`code` with indentation and line ends put back; lines that did not change come back as they were."""
        old = self.code.split("\n") if self.raw_lines else []
        new = code.split("\n")
        result: list[str] = []
        for kind, old_start, old_end, new_start, new_end in _opcodes(old, new):
            if kind == "equal":
                result += self.raw_lines[old_start:old_end]
            else:
                result += [
                    (self.indent + line if line.strip() else line) + self.newline for line in new[new_start:new_end]
                ]
        return self._with_old_end(result)

    def code_offset(self, offset: int) -> int:
        """Where a character offset of the original text is in `code`; one in a removed character moves behind it."""
        code_start = 0
        for line in self.raw_lines:
            kept = len(_dedent(line.rstrip("\r\n"), self.indent))
            removed = len(line.rstrip("\r\n")) - kept
            if offset < len(line):
                return code_start + min(max(0, offset - removed), kept)
            offset -= len(line)
            code_start += kept + 1
        return len(self.code)

    def with_old_blank_end(self, code: str) -> str:
        """An answer with as many empty lines at its end as there were: they say nothing about the edit."""
        num_blank = len(self.code) - len(self.code.rstrip("\n"))
        return code.rstrip("\n") + "\n" * num_blank

    def _with_old_end(self, lines: list[str]) -> str:
        """Every line but the last ends in a newline; the last ends as the old last line did."""
        fixed = [line if line.endswith(("\n", "\r")) else line + self.newline for line in lines]
        if not fixed:
            return ""
        old_end = self.raw_lines[-1][len(self.raw_lines[-1].rstrip("\r\n")) :] if self.raw_lines else ""
        fixed[-1] = fixed[-1].rstrip("\r\n") + old_end
        return "".join(fixed)


def split_lines(text: str) -> list[str]:
    """Lines with their ends, at \\n, \\r\\n and \\r only."""
    if not any(mark in text for mark in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
        return text.splitlines(keepends=True)
    lines: list[str] = []
    start = 0
    for i, character in enumerate(text):
        if character == "\n" or (character == "\r" and text[i + 1 : i + 2] != "\n"):
            lines.append(text[start : i + 1])
            start = i + 1
    return lines + ([text[start:]] if start < len(text) else [])


def indent_of(line: str) -> str:
    """The blanks and tabs that a line starts with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def _opcodes(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """Line by line differences; equal ends are taken off first, since the matcher's time grows with the square."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    inner = difflib.SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False)
    codes: list[tuple[str, int, int, int, int]] = [("equal", 0, head, 0, head)]
    for kind, *places in inner.get_opcodes():
        first, last, new_first, new_last = (place + head for place in places)
        codes.append((kind, first, last, new_first, new_last))
    codes.append(("equal", len(old) - tail, len(old), len(new) - tail, len(new)))
    return codes


def _common_indent(lines: list[str]) -> str:
    indents = [indent_of(line) for line in lines if line.strip()]
    if not indents:
        return ""
    shortest = min(indents, key=len)
    while shortest and not all(indent.startswith(shortest) for indent in indents):
        shortest = shortest[:-1]
    return shortest


def _dedent(line: str, indent: str) -> str:
    return line[len(indent) :] if line.startswith(indent) else line.lstrip(" \t")
