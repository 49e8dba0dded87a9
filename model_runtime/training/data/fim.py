"""Holes in real code: what is cut out of a file, and how much is shown around it.

A hole is drawn the way an editor makes one: the rest of a line the cursor stands in (also inside a word, also before
the closing bracket the editor put there), a whole line, a few lines, a syntax node; some from anywhere to anywhere, as
in Bavarian et al. 2022 (Efficient Training of Language Models to Fill in the Middle); rarely nothing at all, which
teaches to end at once. Works on text; token ids come later (samples.py).
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass, replace
from typing import Literal

from model_runtime.training.data.packages import SourceFile
from model_runtime.training.data.syntax_spans import bracket_spans, python_node_spans

CHARS_PER_TOKEN = 3.3
"""Measured on this vocabulary over Python; only sets how wide a context is drawn."""

HoleKind = Literal["line", "mid_line", "lines", "node", "span", "empty", "relative"]

HOLE_SHARES: dict[HoleKind, float] = {
    "line": 0.22,
    "mid_line": 0.28,
    "lines": 0.24,
    "node": 0.13,
    "span": 0.10,
    "empty": 0.03,
}
MAX_HOLE_CHARS = 320
MAX_HOLE_LINES = 6
PROSE_DROP = 0.8
"""Share of the holes without any sign of code (docstring prose, lone words) that are drawn again."""

RELATIVE_IN_LAST_LINE = 0.65

_BOUNDARY = re.compile(r"(?<=[^\w\s])|\b")
_CODE_SIGN = re.compile(r"[=(\[{:.]|return|import|else|pass")


@dataclass(frozen=True, slots=True)
class ContextWidths:
    """Bounds of the context drawn around a hole, in tokens."""

    min_prefix: int = 24
    max_prefix: int = 220
    min_suffix: int = 12
    max_suffix: int = 130
    no_suffix_share: float = 0.08


@dataclass(frozen=True, slots=True)
class Hole:
    """One cut: `prefix + middle + suffix` is a contiguous piece of a file."""

    prefix: str
    middle: str
    suffix: str
    kind: HoleKind
    language: str

    @property
    def is_multi_line(self) -> bool:
        """True when the middle holds a newline that something follows."""
        return "\n" in self.middle.rstrip("\n")


def draw_hole(source: SourceFile, rng: random.Random, widths: ContextWidths) -> Hole | None:
    """A hole of this file, or None when the spot drawn has nothing worth asking for."""
    kind = rng.choices(list(HOLE_SHARES), weights=list(HOLE_SHARES.values()))[0]
    span = _draw_span(kind, source, rng)
    if span is None:
        return None
    start, end = span
    middle = source.text[start:end]
    if kind != "empty" and (not middle.strip() or len(middle) > MAX_HOLE_CHARS):
        return None
    if kind in ("line", "mid_line") and not _CODE_SIGN.search(middle) and rng.random() < PROSE_DROP:
        return None
    prefix_start, suffix_end = _context(source.text, start, end, rng, widths)
    return Hole(source.text[prefix_start:start], middle, source.text[end:suffix_end], kind, source.language)


def draw_relatives(hole: Hole, rng: random.Random, count: int) -> list[Hole]:
    """At most `count` other holes that end where this one does and show the same text after it.

    Most begin in its last line, as a cursor does that moves on while the line is typed; the others in lines above.
    """
    text = hole.prefix + hole.middle
    starts: set[int] = set()
    lines = _last_lines(text)
    for _ in range(count if lines else 0):
        first, end = lines[-1] if rng.random() < RELATIVE_IN_LAST_LINE else rng.choice(lines)
        start = _draw_cursor(text, first, end, rng)
        if text[start:].strip() and start > 0 and len(text) - start <= MAX_HOLE_CHARS:
            starts.add(start)
    starts -= {len(hole.prefix)}
    return [replace(hole, prefix=text[:start], middle=text[start:], kind="relative") for start in sorted(starts)]


def _last_lines(text: str) -> list[tuple[int, int]]:
    """Start and end of the last lines that hold anything, line ends left out; as many as a hole may have."""
    lines = [(match.start(), match.end()) for match in re.finditer(r"[^\r\n]+", text)]
    return [(start, end) for start, end in lines if text[start:end].strip()][-MAX_HOLE_LINES:]


def _draw_cursor(text: str, first: int, end: int, rng: random.Random) -> int:
    """A place in one line where a completion may be asked for: mostly behind a sign or before a word."""
    indent = first + len(text[first:end]) - len(text[first:end].lstrip())
    kind = rng.random()
    if kind < 0.2:
        return indent
    if kind < 0.25:
        return first
    boundaries = [indent + match.start() for match in _BOUNDARY.finditer(text[indent:end])]
    return rng.choice(boundaries) if kind < 0.7 else rng.randint(indent, end - 1)


def _draw_span(kind: HoleKind, source: SourceFile, rng: random.Random) -> tuple[int, int] | None:
    text = source.text
    if kind == "node":
        return _node_span(source, rng)
    starts = [match.start() for match in re.finditer(r"^(?=.*\S)", text, re.MULTILINE)]
    if not starts:
        return None
    line = rng.choice(starts)
    end = _line_end(text, line)
    if kind == "empty":
        return (end, end)
    if kind == "mid_line":
        return _mid_line_span(text, line, end, rng)
    if kind == "span":
        return _random_span(text, line, rng)
    if kind == "lines":
        for _ in range(rng.randint(1, MAX_HOLE_LINES - 1)):
            end = _line_end(text, _next_line(text, end))
    indent = len(text[line:end]) - len(text[line:end].lstrip())
    # Most cursors stand behind the indentation the editor typed; some at the line's start, where the hole often owns
    # its newline too.
    at_indent = rng.random() < 0.55
    if text.startswith("\n", end) and rng.random() < (0.1 if at_indent else 0.5):
        end += 1
    return (line + indent if at_indent else line), end


def _mid_line_span(text: str, line: int, end: int, rng: random.Random) -> tuple[int, int] | None:
    content = text[line:end]
    first = len(content) - len(content.lstrip())
    if len(content) - first < 3:
        return None
    boundaries = [match.start() for match in _BOUNDARY.finditer(content) if match.start() > first]
    at_boundary = boundaries and rng.random() < 0.6
    start = rng.choice(boundaries) if at_boundary else rng.randint(first + 1, len(content) - 1)
    stop = len(content)
    if rng.random() < 0.15:  # the editor already closed the bracket
        stop -= len(content) - len(content.rstrip(")]}\"':,;"))
    return (line + start, line + stop) if stop > start else None


def _random_span(text: str, line: int, rng: random.Random) -> tuple[int, int] | None:
    """From anywhere in this line to anywhere behind that, in it or in the next ones: both ends may cut a word."""
    limit = _line_end(text, line)
    start = rng.randint(line, limit)
    for _ in range(rng.randint(0, MAX_HOLE_LINES - 1)):
        limit = _line_end(text, _next_line(text, limit))
    limit = min(limit, start + MAX_HOLE_CHARS)
    if start >= limit:
        return None
    end = rng.randint(start + 1, limit)
    return start, end + text.startswith("\r\n", end - 1)


def _node_span(source: SourceFile, rng: random.Random) -> tuple[int, int] | None:
    spans_of = python_node_spans if source.language == "python" else bracket_spans
    spans = spans_of(source.text, MAX_HOLE_CHARS, MAX_HOLE_LINES)
    return rng.choice(spans) if spans else None


def _context(text: str, start: int, end: int, rng: random.Random, widths: ContextWidths) -> tuple[int, int]:
    """Where the shown text begins and ends: widths log-uniform, cut at line boundaries where one is near."""
    prefix_chars = int(_log_uniform(rng, widths.min_prefix, widths.max_prefix) * CHARS_PER_TOKEN)
    prefix_start = max(0, start - prefix_chars)
    newline = text.find("\n", prefix_start, start)
    if prefix_start > 0 and newline >= 0:
        prefix_start = newline + 1
    if rng.random() < widths.no_suffix_share:
        return prefix_start, end
    suffix_chars = int(_log_uniform(rng, widths.min_suffix, widths.max_suffix) * CHARS_PER_TOKEN)
    suffix_end = min(len(text), end + suffix_chars)
    newline = text.rfind("\n", end, suffix_end)
    return prefix_start, newline + 1 if suffix_end < len(text) and newline >= 0 else suffix_end


def _log_uniform(rng: random.Random, low: int, high: int) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _next_line(text: str, end: int) -> int:
    """Where the line after the one that ends at `end` begins."""
    if text.startswith("\r\n", end):
        return end + 2
    return min(end + 1, len(text))


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    return end - 1 if end > start and text[end - 1] == "\r" else end
